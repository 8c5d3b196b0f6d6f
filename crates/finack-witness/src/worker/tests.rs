use finack_posix::{Address, Call, Reply, abi};

use super::*;

fn prepared(call: Call) -> Arc<Prepared> {
    Arc::new(Prepared::new(call))
}

fn made(call: Call) -> Reply {
    call::make(&Prepared::new(call)).unwrap()
}

fn socket() -> i32 {
    let call = Call::Socket { domain: abi::AF_INET, kind: abi::SOCK_STREAM, protocol: 0 };
    i32::try_from(made(call).returned()).unwrap()
}

/// An accept sleeps until somebody connects; a call that returns at once is not taken for one that sleeps.
#[test]
fn a_call_that_sleeps_is_told_from_one_that_returns() {
    let mut workers = Workers::new().unwrap();
    let listener = socket();
    made(Call::Bind(listener, Address::Inet("127.0.0.1:0".parse().unwrap())));
    made(Call::Listen(listener, 1));
    let Reply::Name(at) = made(Call::SocketName(listener)) else { panic!("no name") };
    let blocked = workers.make(prepared(Call::Accept(listener, 0))).unwrap_err();
    assert!(workers.finished().is_none());
    let client = socket();
    made(Call::Connect(client, at));
    let begun = Instant::now();
    let finished = loop {
        if let Some(finished) = workers.finished() {
            break finished;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "the accept does not return");
        std::thread::yield_now();
    };
    assert_eq!(finished.id, blocked);
    let Ok(Reply::Accepted(server, _)) = finished.answer else { panic!("{:?}", finished.answer) };
    for fd in [server, client, listener] {
        assert_eq!(workers.make(prepared(Call::Close(fd))), Ok(Ok(Reply::Number(0))));
    }
}
