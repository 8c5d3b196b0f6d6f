use super::*;
use alloc::vec;

#[test]
fn packets_leave_in_the_order_in_which_they_came() {
    let mut q = OutQueue::default();
    assert!(q.push(vec![1]) && q.push(vec![2, 2]));
    assert_eq!(q.pop(), Some((None, 1)));
    assert_eq!(q.lent(), [1]);
    assert_eq!(q.pop(), Some((None, 2)));
    assert_eq!(q.lent(), [2, 2]);
    assert_eq!(q.pop(), None);
}

#[test]
fn a_full_queue_drops_and_counts() {
    let mut q = OutQueue::default();
    for _ in 0..MOST_PACKETS {
        assert!(q.push(vec![0; 40]));
    }
    assert!(!q.push(vec![0; 40]));
    assert_eq!(q.dropped(), 1);
    let mut q = OutQueue::default();
    while q.push(vec![0; 60_000]) {}
    assert!(q.memory() <= MOST_BYTES + 64 * 1024);
    assert!(!q.is_half_free());
    while q.memory() > MOST_BYTES / 3 {
        q.pop();
    }
    assert!(q.is_half_free() && q.push(vec![0; 60_000]));
}

#[test]
fn steady_traffic_uses_the_same_buffers_again() {
    let mut q = OutQueue::default();
    for _ in 0..4 {
        let mut b = q.buffer();
        b.resize(1500, 0);
        q.push(b);
        q.pop();
    }
    let buffer = q.buffer();
    assert!(buffer.is_empty() && buffer.capacity() >= 1500);
    q.recycle(vec![0; 60_000]);
    assert!(q.spares.iter().all(|b| b.capacity() <= SPARE_BYTES));
}
