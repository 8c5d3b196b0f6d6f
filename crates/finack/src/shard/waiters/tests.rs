use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::*;

/// An id of the tests' own: index and generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Id(usize, u32);

impl SocketId for Id {
    fn place(self) -> usize {
        self.0
    }

    fn table(_: &mut Waiters) -> &mut Table<Self> {
        unreachable!("the tests hold their table themselves")
    }
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Count {
    fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }

    fn wakes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn fire(table: &mut Table<Id>, id: Id, ready: Ready) {
    let mut out = Vec::new();
    if let Some(slot) = table.slot(id) {
        slot.take(ready, &mut out);
    }
    out.into_iter().for_each(Waker::wake);
}

fn park(table: &mut Table<Id>, id: Id, key: u64, mask: Ready, waker: Waker) {
    table.slot(id).unwrap().parked.push(Parked { key: Key::new(key).unwrap(), mask, waker });
}

#[test]
fn reader_and_writer_are_woken_apart() {
    let (reader, writer) = (Arc::<Count>::default(), Arc::<Count>::default());
    let id = Id(0, 1);
    let mut table = Table::new();
    table.open(id);
    let slot = table.slot(id).unwrap();
    (slot.reader, slot.writer) = (Some(reader.waker()), Some(writer.waker()));
    fire(&mut table, id, Ready::WRITABLE);
    assert_eq!((reader.wakes(), writer.wakes()), (0, 1));
    fire(&mut table, id, Ready::READABLE);
    fire(&mut table, id, Ready::READABLE);
    assert_eq!((reader.wakes(), writer.wakes()), (1, 1), "one wake for each wait");
}

#[test]
fn an_error_concerns_everyone() {
    let count = Arc::<Count>::default();
    let id = Id(0, 1);
    let mut table = Table::new();
    table.open(id);
    let slot = table.slot(id).unwrap();
    (slot.reader, slot.writer) = (Some(count.waker()), Some(count.waker()));
    park(&mut table, id, 1, READ, count.waker());
    park(&mut table, id, 2, WRITE, count.waker());
    fire(&mut table, id, Ready::ERROR);
    assert_eq!(count.wakes(), 4);
}

#[test]
fn of_many_futures_those_whom_it_concerns_are_woken() {
    let (readers, writers) = (Arc::<Count>::default(), Arc::<Count>::default());
    let id = Id(3, 1);
    let mut table = Table::new();
    table.open(id);
    for key in 1..=10 {
        park(&mut table, id, 2 * key, READ, readers.waker());
        park(&mut table, id, 2 * key + 1, WRITE, writers.waker());
    }
    fire(&mut table, id, Ready::READABLE);
    assert_eq!((readers.wakes(), writers.wakes()), (10, 0));
    assert_eq!(table.slot(id).unwrap().parked.len(), 10);
}

#[test]
fn an_event_of_an_earlier_socket_wakes_nobody() {
    let count = Arc::<Count>::default();
    let mut table = Table::new();
    table.open(Id(5, 1));
    drop(table.close(Id(5, 1)));
    table.open(Id(5, 2));
    table.slot(Id(5, 2)).unwrap().reader = Some(count.waker());
    fire(&mut table, Id(5, 1), Ready::READABLE);
    assert_eq!(count.wakes(), 0);
    assert!(table.close(Id(5, 1)).is_none());
    fire(&mut table, Id(5, 2), Ready::READABLE);
    assert_eq!(count.wakes(), 1);
}

#[test]
fn tables_grow_to_any_index_and_are_walked_in_parts() {
    let mut table = Table::new();
    for index in [0, 63, 64, 1000] {
        table.open(Id(index, 1));
    }
    let (mut all, mut next) = (Vec::new(), 0);
    while let Some((ids, rest)) = table.some_from(next) {
        all.extend(ids.map(|id| id.0));
        next = rest;
    }
    assert_eq!(all, [0, 63, 64, 1000]);
    assert!(table.slot(Id(5000, 1)).is_none());
}
