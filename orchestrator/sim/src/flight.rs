//! Datagrams on their way: a slab of headers, and their payloads in cells of a few sizes.
//!
//! A datagram in flight takes little more than its own bytes, and after warm-up none costs an allocation. It never
//! reads a payload.

use std::net::SocketAddr;

use atoll_core::Time;
use atoll_topology::{HostId, Packet};

use crate::heap::{Entry, Heap};

const CELLS: [usize; 12] = [32, 48, 64, 80, 96, 128, 192, 256, 384, 512, 1024, 2048];

/// A datagram between two hosts.
#[derive(Debug)]
pub(crate) struct Flight {
    /// Its header, as the last box rewrote it.
    pub(crate) packet: Packet,
    /// Who sent it.
    pub(crate) sender: HostId,
    /// Its bytes, in the [`Hold`]; none for an error message of the Internet.
    pub(crate) payload: Option<Cell>,
}

/// What is of interest once a datagram's way has ended; small enough to copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slip {
    pub(crate) sender: HostId,
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) length: u32,
    pub(crate) payload: Option<Cell>,
}

impl Flight {
    pub(crate) fn slip(&self) -> Slip {
        let Packet { source, destination, length, .. } = self.packet;
        Slip { sender: self.sender, source, destination, length, payload: self.payload }
    }
}

/// Where a payload lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    shelf: u16,
    length: u16,
    index: u32,
}

/// Every datagram that is in flight, and when each comes up next.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    queue: Heap<()>,
    slots: Vec<Flight>,
    free: Vec<u32>,
}

impl Flights {
    /// The one that comes up next.
    pub(crate) fn first(&self) -> Option<&Entry> {
        self.queue.first()
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn insert(&mut self, time: Time, sequence: u64, flight: Flight) {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = flight;
                slot
            }
            None => {
                self.slots.push(flight);
                (self.slots.len() - 1) as u32
            }
        };
        self.queue.push(Entry { time, sequence, slot });
    }

    /// The slot of the one that comes up next, and it. Put it [`Flights::back`] or [`Flights::release`] its slot.
    pub(crate) fn pop(&mut self) -> Option<(u32, &mut Flight)> {
        let slot = self.queue.pop()?.slot;
        Some((slot, &mut self.slots[slot as usize]))
    }

    /// A popped one is still on its way.
    pub(crate) fn back(&mut self, entry: Entry) {
        self.queue.push(entry);
    }

    /// The slot of a popped one serves again.
    pub(crate) fn release(&mut self, slot: u32) {
        self.free.push(slot);
    }
}

/// Payloads by size.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    shelves: [Shelf; CELLS.len()],
    large: Vec<Vec<u8>>,
    large_free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Shelf {
    bytes: Vec<u8>,
    free: Vec<u32>,
}

impl Hold {
    /// The largest payload of a UDP datagram in an IPv4 packet, in bytes.
    pub(crate) const PAYLOAD_MAX: usize = 65_507;

    /// Keeps a copy of `payload`, which is at most [`Hold::PAYLOAD_MAX`] long.
    pub(crate) fn put(&mut self, payload: &[u8]) -> Cell {
        debug_assert!(payload.len() <= Self::PAYLOAD_MAX, "the sender's socket refuses it");
        let shelf = CELLS.iter().position(|size| payload.len() <= *size).unwrap_or(CELLS.len());
        let index = match self.shelves.get_mut(shelf) {
            Some(cells) => cells.put(CELLS[shelf], payload),
            None => self.put_large(payload),
        };
        Cell { shelf: shelf as u16, length: payload.len() as u16, index }
    }

    /// The bytes in `cell`.
    pub(crate) fn get(&self, cell: Cell) -> &[u8] {
        let (shelf, index) = (usize::from(cell.shelf), cell.index as usize);
        match self.shelves.get(shelf) {
            Some(cells) => &cells.bytes[index * CELLS[shelf]..][..usize::from(cell.length)],
            None => &self.large[index],
        }
    }

    /// Gives `cell` up; its place serves again.
    pub(crate) fn free(&mut self, cell: Cell) {
        match self.shelves.get_mut(usize::from(cell.shelf)) {
            Some(cells) => cells.free.push(cell.index),
            None => {
                self.large[cell.index as usize] = Vec::new();
                self.large_free.push(cell.index);
            }
        }
    }

    fn put_large(&mut self, payload: &[u8]) -> u32 {
        if let Some(index) = self.large_free.pop() {
            self.large[index as usize] = payload.to_vec();
            return index;
        }
        self.large.push(payload.to_vec());
        (self.large.len() - 1) as u32
    }
}

impl Shelf {
    fn put(&mut self, size: usize, payload: &[u8]) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.bytes.resize(self.bytes.len() + size, 0);
            (self.bytes.len() / size - 1) as u32
        });
        self.bytes[index as usize * size..][..payload.len()].copy_from_slice(payload);
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_of_every_size_come_back_whole_and_places_serve_again() {
        let mut hold = Hold::default();
        let sizes = [0, 1, 64, 65, 500, 1472, 2048, 2049, Hold::PAYLOAD_MAX];
        for round in 0..3u8 {
            let payloads: Vec<Vec<u8>> = sizes.iter().map(|size| vec![round + 1; *size]).collect();
            let cells: Vec<Cell> = payloads.iter().map(|payload| hold.put(payload)).collect();
            for (cell, payload) in cells.iter().zip(&payloads) {
                assert_eq!(hold.get(*cell), payload);
            }
            cells.into_iter().for_each(|cell| hold.free(cell));
        }
        assert_eq!(hold.shelves[0].bytes.len(), 2 * CELLS[0]);
        assert_eq!(hold.large.len(), 2);
    }
}
