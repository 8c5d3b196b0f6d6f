use super::*;

fn at(seconds: u64) -> String {
    daytime(UNIX_EPOCH + Duration::from_secs(seconds))
}

#[test]
fn daytime_is_written_as_rfc_867_suggests() {
    assert_eq!(at(0), "Thursday, January 1, 1970 00:00:00-UTC\r\n");
    // RFC 867's own example, which has the wrong day of the week.
    assert_eq!(at(383_247_463), "Monday, February 22, 1982 17:37:43-UTC\r\n");
    assert_eq!(at(951_782_399), "Monday, February 28, 2000 23:59:59-UTC\r\n");
    assert_eq!(at(951_782_400), "Tuesday, February 29, 2000 00:00:00-UTC\r\n");
    assert_eq!(at(1_795_219_199), "Friday, November 20, 2026 23:59:59-UTC\r\n");
    assert_eq!(at(4_107_542_400), "Monday, March 1, 2100 00:00:00-UTC\r\n");
    assert_eq!(at(253_402_300_799), "Friday, December 31, 9999 23:59:59-UTC\r\n");
}

#[test]
fn chargen_shifts_its_line_by_one_each_time() {
    // RFC 864: 72 characters, CR LF, the next line one character on.
    let text: Vec<u8> = Pattern::default().take(74 * 96).collect();
    let lines: Vec<&[u8]> = text.chunks(74).collect();
    assert_eq!(&lines[0][..4], b" !\"#");
    assert!(lines.iter().all(|l| l.ends_with(b"\r\n")));
    assert_eq!(lines[0][1..72], lines[1][..71]);
    assert_eq!(lines[1][71], b'h');
    assert_eq!(lines[95], lines[0], "95 printing characters");
    assert!(text.iter().all(|b| matches!(b, 32..=126 | b'\r' | b'\n')));
}

#[test]
fn datagrams_get_their_answers() {
    let from = "198.18.0.2:40000".parse().unwrap();
    assert_eq!(Small::Echo.answer(from, b"hi", 0).as_deref(), Some(&b"hi"[..]));
    assert_eq!(Small::Echo.answer(from, b"", 0).as_deref(), Some(&b""[..]));
    assert_eq!(Small::Discard.answer(from, b"hi", 0), None);
    assert!(Small::Daytime.answer(from, b"", 0).unwrap().ends_with(b"-UTC\r\n"));
    // RFC 864: 0 to 512 characters, at random.
    let lengths: Vec<usize> =
        (0..5000).map(|turn| Small::Chargen.answer(from, b"", turn).unwrap().len()).collect();
    assert_eq!((lengths.iter().min(), lengths.iter().max()), (Some(&0), Some(&512)));
}

#[test]
fn no_two_of_them_talk_to_each_other() {
    for service in Small::ALL {
        for other in Small::ALL {
            let from = SocketAddr::from(([198, 18, 0, 2], other.port()));
            assert_eq!(service.answer(from, b"hi", 0), None, "{service:?} to {other:?}");
        }
    }
}

#[tokio::test]
async fn echo_answers_the_end_once_everything_is_back() {
    let (mut client, server) = tokio::io::duplex(64);
    let client = async {
        client.write_all(b"some words").await.unwrap();
        client.shutdown().await.unwrap();
        let mut back = String::new();
        client.read_to_string(&mut back).await.unwrap();
        assert_eq!(back, "some words");
    };
    let (served, ()) = tokio::join!(Small::Echo.serve(server), client);
    served.unwrap();
}

#[tokio::test]
async fn chargen_ends_with_its_reader_and_throws_away_what_comes() {
    let (mut client, server) = tokio::io::duplex(64);
    let client = async {
        let mut line = [0; 74];
        client.read_exact(&mut line).await.unwrap();
        assert!(line.ends_with(b"\r\n"));
        client.write_all(&[0; 1000]).await.unwrap();
        drop(client);
    };
    let (served, ()) = tokio::join!(Small::Chargen.serve(server), client);
    // Its last words find nobody, or the reader's end is seen first.
    assert!(served.is_ok() || served.is_err_and(|e| e.kind() == io::ErrorKind::BrokenPipe));
}

#[tokio::test]
async fn daytime_speaks_first_and_closes_first() {
    let (mut client, server) = tokio::io::duplex(256);
    let client = async {
        let mut line = String::new();
        client.read_to_string(&mut line).await.unwrap();
        assert!(line.ends_with("-UTC\r\n"), "{line}");
        client.shutdown().await.unwrap();
    };
    let (served, ()) = tokio::join!(Small::Daytime.serve(server), client);
    served.unwrap();
}
