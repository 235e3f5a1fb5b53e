//! Pages of load sources over real sockets.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    load::{Fault, Fetch, Found, Page},
    probe::Fetcher,
    testing,
};

/// Answers one connection with these pieces, then closes it.
async fn serve(pieces: Vec<Vec<u8>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let size = stream.read(&mut request).await.unwrap();
        let request = String::from_utf8_lossy(&request[..size]).into_owned();
        assert!(
            request.starts_with("GET /metrics?x=1 HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(
            request.contains(&format!("host: localhost:{port}\r\n")),
            "{request}"
        );
        for piece in pieces {
            if stream.write_all(&piece).await.is_err() {
                return;
            }
        }
    });
    port
}

async fn fetch(port: u16) -> Result<Page, Fault> {
    let text = format!(
        "[[pop]]\nname = \"fra\"\nlatitude = 0\nlongitude = 0\nendpoints = [\"127.0.0.1\"]\n\
         load = {{ prometheus = \"http://localhost:{port}/metrics?x=1\", metric = \"active\" }}\n\
         [[pool]]\nname = \"edge\"\npops = [\"fra\"]\n"
    );
    let config = testing::read(&text);
    let source = config.pops[0].load.as_ref().unwrap();
    let meridian_config::LoadKind::Prometheus { page, series, .. } = &source.kind else {
        unreachable!();
    };
    let fetch = Fetch {
        pop: "fra".into(),
        id: 1,
        page: page.clone(),
        timeout: Duration::from_secs(20),
        wanted: Some([series.clone()].into()),
    };
    Fetcher::default().fetch(&fetch).await
}

fn response(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

fn failed(page: Result<Page, Fault>) -> String {
    page.unwrap_err().to_string()
}

#[tokio::test]
async fn a_page_in_pieces_and_in_chunks() {
    let right = Ok(Page::Series(vec![Found::from([(
        xxhash_rust::xxh3::xxh3_64(b""),
        12.0,
    )])]));
    let whole = response("200 OK", "# x\nactive 12\nother 1\n");
    let pieces = whole.chunks(7).map(<[u8]>::to_vec).collect();
    assert_eq!(fetch(serve(pieces).await).await, right);
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let chunks = vec![
        head,
        b"5\r\nactiv\r\n".to_vec(),
        b"6\r\ne 12\n\n\r\n0\r\n\r\n".to_vec(),
    ];
    assert_eq!(fetch(serve(chunks).await).await, right);
    // Without a length the page ends with the connection.
    let old = b"HTTP/1.0 200 OK\r\n\r\nactive 12\n".to_vec();
    assert_eq!(fetch(serve(vec![old]).await).await, right);
}

#[tokio::test]
async fn what_is_no_page() {
    let cut = response("200 OK", "active 12\nother 1\n");
    let cut = cut[..cut.len() - 8].to_vec();
    assert!(failed(fetch(serve(vec![cut]).await).await).contains("closed"));
    let moved = response("302 Found", "active 12\n");
    assert_eq!(failed(fetch(serve(vec![moved]).await).await), "status 302");
    let noise = b"SSH-2.0-OpenSSH_9.6\r\n".to_vec();
    assert!(failed(fetch(serve(vec![noise]).await).await).contains("not an HTTP response"));
    let absurd = response("200 OK", "active NaN\n");
    assert_eq!(fetch(serve(vec![absurd]).await).await, Err(Fault::Absurd));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    assert_eq!(failed(fetch(port).await), "connection refused");
}

/// Row 6: a page without end is given up at its limit.
#[tokio::test]
async fn row_6_a_page_without_end() {
    let head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let piece = b"other{a=\"b\"} 1\n".repeat(1 << 16);
    let endless = std::iter::once(head)
        .chain(std::iter::repeat_n(piece, 64))
        .collect();
    assert_eq!(fetch(serve(endless).await).await, Err(Fault::TooLarge));
}
