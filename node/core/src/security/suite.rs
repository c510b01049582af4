//! How an overlay is protected: an engine to be made, and the rule that judges what peers claim.

use std::fmt;
use std::sync::Arc;

use super::{
    Authority, Credentials, Dtls, Engine, Filter, GroupSecret, Limits, Modelled, Plain, Quic, QuicOptions,
    Setting, Trust, Unusable,
};
use crate::buffer::Pool;
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::Address;

type Wrapper = dyn Fn(Box<dyn Engine>) -> Box<dyn Engine> + Send + Sync;

/// Puts an engine of another kind around one that was made: it sees what goes in and out in the clear.
#[derive(Clone)]
pub struct Around(Arc<Wrapper>);

impl Around {
    /// By this function.
    pub fn new(around: impl Fn(Box<dyn Engine>) -> Box<dyn Engine> + Send + Sync + 'static) -> Self {
        Self(Arc::new(around))
    }
}

impl fmt::Debug for Around {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Around")
    }
}

/// What makes the engines of a member; all of one member share what is costly.
#[derive(Clone, Debug)]
pub struct Security {
    kind: Kind,
    credentials: Option<Credentials>,
    trust: Arc<Trust>,
    secret: Option<GroupSecret>,
    limits: Limits,
    around: Option<Around>,
}

#[derive(Clone, Debug)]
enum Kind {
    None,
    Modelled,
    ModelledQuic,
    Dtls(Dtls),
    /// What protects edges, and what protects end-to-end senders: QUIC's first datagrams fit into no packet of a ring.
    Quic(Quic, Dtls),
}

impl Security {
    /// Packets are neither encrypted nor authenticated, and every claim is believed.
    #[must_use]
    pub fn none() -> Self {
        Self::of(Kind::None, Trust::Believe)
    }

    /// As many round trips, datagrams and bytes as DTLS and no cryptography, for large simulations.
    #[must_use]
    pub fn modelled() -> Self {
        Self::of(Kind::Modelled, Trust::Believe)
    }

    /// The same with those of QUIC.
    #[must_use]
    pub fn modelled_quic() -> Self {
        Self::of(Kind::ModelledQuic, Trust::Believe)
    }

    /// DTLS in an overlay in which the address belongs to the key.
    ///
    /// # Errors
    /// OpenSSL does not take the credentials.
    pub fn dtls(credentials: &Credentials) -> Result<Self, Unusable> {
        Ok(Self::proved(Kind::Dtls(Dtls::new(credentials)?), credentials))
    }

    /// QUIC in an overlay in which the address belongs to the key.
    ///
    /// # Errors
    /// rustls or OpenSSL does not take the credentials.
    pub fn quic(credentials: &Credentials, options: QuicOptions) -> Result<Self, Unusable> {
        let kind = Kind::Quic(Quic::new(credentials, options)?, Dtls::new(credentials)?);
        Ok(Self::proved(kind, credentials))
    }

    fn proved(kind: Kind, credentials: &Credentials) -> Self {
        Self { credentials: Some(credentials.clone()), ..Self::of(kind, Trust::SelfCertified) }
    }

    fn of(kind: Kind, trust: Trust) -> Self {
        let (trust, limits) = (Arc::new(trust), Limits::default());
        Self { kind, credentials: None, trust, secret: None, limits, around: None }
    }

    /// The same with another engine around each engine for edges, to watch or to spoil what members say to each other.
    #[must_use]
    pub fn around(self, around: Around) -> Self {
        Self { around: Some(around), ..self }
    }

    /// The same in a group: its authority vouches for the members, and without its secret nobody gets an answer.
    #[must_use]
    pub fn in_group(self, authority: Authority, secret: Option<GroupSecret>) -> Self {
        let trust = match &self.kind {
            Kind::Modelled | Kind::ModelledQuic => Trust::Modelled(Box::new(authority)),
            _ => Trust::Authority(Box::new(authority)),
        };
        Self { trust: Arc::new(trust), secret, ..self }
    }

    /// The same with other times and counts.
    #[must_use]
    pub fn limited(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// What the member presents, if the engine needs that.
    #[must_use]
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// Presents other credentials of the same member, in every engine that is made from now on.
    ///
    /// # Errors
    /// They cannot be used; what was presented before stays.
    pub fn present(&mut self, credentials: &Credentials) -> Result<(), Unusable> {
        self.kind = match &self.kind {
            Kind::Dtls(_) => Kind::Dtls(Dtls::new(credentials)?),
            Kind::Quic(quic, _) => {
                Kind::Quic(Quic::new(credentials, quic.options())?, Dtls::new(credentials)?)
            }
            shows_none => shows_none.clone(),
        };
        self.credentials = Some(credentials.clone());
        Ok(())
    }

    /// The group's secret, if there is one.
    #[must_use]
    pub fn secret(&self) -> Option<&GroupSecret> {
        self.secret.as_ref()
    }

    /// The rule that judges claims.
    #[must_use]
    pub fn trust(&self) -> Arc<Trust> {
        Arc::clone(&self.trust)
    }

    /// A new engine for the end-to-end senders of the member with this address.
    #[must_use]
    pub fn end_engine(&self, address: Address, pool: Pool, rng: &Rng, now: Time) -> Box<dyn Engine> {
        let kind = match &self.kind {
            Kind::Quic(_, dtls) => Kind::Dtls(dtls.clone()),
            Kind::ModelledQuic => Kind::Modelled,
            same => same.clone(),
        };
        Self { kind, around: None, ..self.clone() }.engine(address, pool, rng, now)
    }

    /// A new engine for the edges of the member with this address.
    #[must_use]
    pub fn engine(&self, address: Address, pool: Pool, rng: &Rng, now: Time) -> Box<dyn Engine> {
        let setting = Setting { address, secret: self.secret.clone(), limits: self.limits.clone() };
        let engine: Box<dyn Engine> = match &self.kind {
            Kind::None => Box::new(Filter::new(Plain::new(address), setting, pool, rng, now)),
            Kind::Modelled => Box::new(Modelled::dtls(setting, pool, rng, now)),
            Kind::ModelledQuic => Box::new(Modelled::quic(setting, pool, rng, now)),
            Kind::Quic(quic, _) => Box::new(quic.engine(setting, pool, rng, now)),
            Kind::Dtls(dtls) => Box::new(Filter::new(dtls.clone(), setting, pool, rng, now)),
        };
        match &self.around {
            Some(Around(around)) => around(engine),
            None => engine,
        }
    }
}

/// As experiments and configurations write it.
impl fmt::Display for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::None => "none",
            Kind::Modelled => "modelled",
            Kind::ModelledQuic => "modelled-quic",
            Kind::Dtls(_) => "dtls",
            Kind::Quic(..) => "quic",
        })
    }
}
