use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::LocalSet;

fn visitor() -> Visitor {
    Visitor {
        local: "198.18.0.80:80".parse().unwrap(),
        remote: "198.18.0.2:40000".parse().unwrap(),
        describe: Rc::new(|| vec!["state ESTABLISHED".into()]),
    }
}

/// Sends `input`, half-closes, and returns everything that comes back.
async fn exchange(input: Vec<u8>) -> String {
    LocalSet::new()
        .run_until(async {
            let (mut client, server) = tokio::io::duplex(1 << 16);
            let serving = tokio::task::spawn_local(serve(server, visitor()));
            let reading = async {
                client.write_all(&input).await.unwrap();
                client.shutdown().await.unwrap();
                read_all(&mut client).await
            };
            let out = reading.await;
            let _ = serving.await.unwrap();
            String::from_utf8(out).unwrap()
        })
        .await
}

async fn read_all(client: &mut DuplexStream) -> Vec<u8> {
    let mut out = Vec::new();
    client.read_to_end(&mut out).await.unwrap();
    out
}

async fn get(target: &str) -> String {
    exchange(format!("GET {target} HTTP/1.1\r\nHost: hello.finack\r\n\r\n").into_bytes()).await
}

#[tokio::test(start_paused = true)]
async fn hello_tells_who_came_over_what_and_in_which_state() {
    let reply = get("/").await;
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    assert!(reply.contains("content-length: "), "{reply}");
    assert!(reply.contains("from 198.18.0.2:40000 to 198.18.0.80:80 over IPv4.\n"), "{reply}");
    assert!(reply.contains("  state ESTABLISHED\n"), "{reply}");
}

#[tokio::test(start_paused = true)]
async fn head_has_the_length_and_no_body() {
    let reply = exchange(b"HEAD /bytes/5000 HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()).await;
    assert!(reply.contains("content-length: 5000\r\n"), "{reply}");
    assert!(reply.ends_with("\r\n\r\n"), "{reply}");
}

#[tokio::test(start_paused = true)]
async fn connections_are_kept_and_requests_pipelined() {
    let two = "GET /sha256/1K HTTP/1.1\r\nHost: h\r\n\r\n".repeat(2);
    assert_eq!(exchange(two.into_bytes()).await.matches("HTTP/1.1 200 OK").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_uploaded_is_hashed_as_what_is_served() {
    let served = get("/sha256/100000").await;
    let digest = served.trim_end().rsplit('\n').next().unwrap().to_owned();
    let mut put = b"PUT /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n".to_vec();
    put.extend(Content::new(100_000).flatten());
    let reply = exchange(put).await;
    assert!(reply.ends_with(&format!("100000 {digest}\n")), "{reply}");
}

#[tokio::test(start_paused = true)]
async fn chunked_uploads_are_taken_too() {
    let put = "POST /upload HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
    let reply = exchange(put.into()).await;
    assert!(
        reply.ends_with("3 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n"),
        "{reply}"
    );
}

#[tokio::test(start_paused = true)]
async fn bad_requests_get_a_status_that_says_so() {
    assert!(
        exchange(b"\x16\x03\x01\x02\x00 not http\r\n\r\n".to_vec())
            .await
            .starts_with("HTTP/1.1 400 Bad Request")
    );
    assert!(get("/bytes/lots").await.contains("400: 'lots' is not a size"));
    assert!(get("/nowhere").await.starts_with("HTTP/1.1 404"));
    let delete = exchange(b"DELETE / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()).await;
    assert!(delete.starts_with("HTTP/1.1 405") && delete.contains("allow: GET"), "{delete}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_answered_with_400() {
    let put = b"PUT /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc".to_vec();
    assert!(exchange(put).await.contains("400: the body broke off after 3 bytes"));
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_let_go_after_a_minute() {
    LocalSet::new()
        .run_until(async {
            let (mut client, server) = tokio::io::duplex(64);
            let serving = tokio::task::spawn_local(serve(server, visitor()));
            let before = tokio::time::Instant::now();
            assert!(read_all(&mut client).await.is_empty());
            assert_eq!(before.elapsed(), HEADER_TIMEOUT);
            assert!(serving.await.unwrap().is_err());
        })
        .await;
}
