//! Who has which address in which network. Look-ups only; never says whether a packet gets there.

use std::net::{IpAddr, Ipv4Addr};

use crate::GatewayId;
use crate::nat::{Lookup, number};
use crate::packet::Owner;
use crate::topology::PUBLIC_V4;

/// Public IPv4 addresses that are found by index: the first so many of the public block.
const INDEXED_MAX: u32 = 1 << 22;

#[derive(Debug, Default)]
pub(super) struct Routes {
    /// By distance from the start of the public block.
    indexed: Vec<Option<Owner>>,
    /// The other public addresses.
    public: Lookup<u128, Owner>,
    private: Lookup<(u32, u128), Owner>,
}

impl Routes {
    pub(super) fn public(&self, address: IpAddr) -> Option<Owner> {
        match index(address) {
            Some(index) => self.indexed.get(index).copied().flatten(),
            None => self.public.get(&number(address)).copied(),
        }
    }

    pub(super) fn private(&self, network: GatewayId, address: IpAddr) -> Option<Owner> {
        self.private.get(&(network.0, number(address))).copied()
    }

    /// Returns who had the address.
    pub(super) fn insert(
        &mut self,
        network: Option<GatewayId>,
        address: IpAddr,
        owner: Owner,
    ) -> Option<Owner> {
        if let Some(network) = network {
            return self.private.insert((network.0, number(address)), owner);
        }
        let Some(index) = index(address) else { return self.public.insert(number(address), owner) };
        if index >= self.indexed.len() {
            self.indexed.resize(index + 1, None);
        }
        self.indexed[index].replace(owner)
    }

    pub(super) fn remove(&mut self, network: Option<GatewayId>, address: IpAddr) {
        if let Some(network) = network {
            self.private.remove(&(network.0, number(address)));
            return;
        }
        match index(address) {
            Some(index) => {
                if let Some(entry) = self.indexed.get_mut(index) {
                    *entry = None;
                }
            }
            None => {
                self.public.remove(&number(address));
            }
        }
    }
}

fn index(address: IpAddr) -> Option<usize> {
    let (IpAddr::V4(address), IpAddr::V4(base)) = (address, PUBLIC_V4.base) else { return None };
    let offset = Ipv4Addr::to_bits(address).wrapping_sub(base.to_bits());
    (offset < INDEXED_MAX).then_some(offset as usize)
}
