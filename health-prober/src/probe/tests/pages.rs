//! Pages of load sources over real sockets.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{Authority, Hole, https_answering};
use crate::{
    Prepared,
    load::{Fault, Fetch, Found, Page},
    probe::{Fetcher, names::Names},
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
        // Whoever does not say so must expect anything.
        assert!(
            request.contains("accept-encoding: identity\r\n"),
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
    fetch_with(&format!("http://localhost:{port}/metrics?x=1"), "").await
}

/// A page with further keys of its source.
async fn fetch_with(url: &str, keys: &str) -> Result<Page, Fault> {
    Fetcher::default().fetch(&asked(url, keys)).await
}

fn asked(url: &str, keys: &str) -> Fetch {
    let text = format!(
        "[[pop]]\nname = \"fra\"\nlatitude = 0\nlongitude = 0\nendpoints = [\"127.0.0.1\"]\n\
         load = {{ prometheus = \"{url}\", metric = \"active\"{keys} }}\n\
         [[pool]]\nname = \"edge\"\npops = [\"fra\"]\n"
    );
    let config = testing::read(&text);
    let source = config.pops[0].load.as_ref().unwrap();
    let meridian_config::LoadKind::Prometheus { page, series, .. } = &source.kind else {
        unreachable!();
    };
    Fetch {
        pop: "fra".into(),
        id: 1,
        page: page.clone(),
        // A page without end is 16 MiB until it is given up: seconds of work, minutes on a busy machine.
        timeout: super::AMPLE,
        wanted: Some([series.clone()].into()),
        access: Prepared::read(&config).pages.remove("fra").unwrap(),
    }
}

fn twelve() -> Result<Page, Fault> {
    let found = Found::from([(xxhash_rust::xxh3::xxh3_64(b""), 12.0)]);
    Ok(Page::Series(vec![found]))
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
    let right = twelve();
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

/// The first address of a name neither takes nor refuses connections, as with IPv6 that leads nowhere.
#[tokio::test]
async fn an_address_that_swallows_everything_leaves_time_for_the_next() {
    let port = serve(vec![response("200 OK", "active 12\n")]).await;
    let _hole = Hole::at(([127, 0, 0, 2], port).into()).await;
    let fetcher = Fetcher {
        names: Names::new(|_| {
            Box::pin(async { Ok(vec![[127, 0, 0, 2].into(), [127, 0, 0, 1].into()]) })
        }),
    };
    let mut fetch = asked(&format!("http://localhost:{port}/metrics?x=1"), "");
    fetch.timeout = 4 * super::SHORT;
    assert_eq!(fetcher.fetch(&fetch).await, twelve());
}

#[tokio::test]
async fn what_is_no_page() {
    let cut = response("200 OK", "active 12\nother 1\n");
    let cut = cut[..cut.len() - 8].to_vec();
    assert!(failed(fetch(serve(vec![cut]).await).await).contains("closed"));
    let moved = response("302 Found", "active 12\n");
    let moved = fetch(serve(vec![moved]).await).await;
    assert_eq!(moved, Err(Fault::Redirect(302)));
    assert!(failed(moved).contains("redirects are not followed"));
    let closed = response("401 Unauthorized", "");
    let closed = failed(fetch(serve(vec![closed]).await).await);
    assert!(closed.contains("401: look at `token_file`"), "{closed}");
    let packed = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b";
    let packed = failed(fetch(serve(vec![packed.to_vec()]).await).await);
    assert!(packed.contains("comes as \"gzip\""), "{packed}");
    let noise = b"SSH-2.0-OpenSSH_9.6\r\n".to_vec();
    assert!(failed(fetch(serve(vec![noise]).await).await).contains("not an HTTP response"));
    let absurd = response("200 OK", "active NaN\n");
    assert_eq!(fetch(serve(vec![absurd]).await).await, Err(Fault::Absurd));
    let (_kept, closed) = testing::keep_port([127, 0, 0, 1]);
    assert_eq!(failed(fetch(closed.port()).await), "connection refused");
}

const TWELVE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nactive 12\n";

#[tokio::test]
async fn a_page_over_tls_is_believed_under_its_own_authority_alone() {
    let authority = Authority::new("authority");
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let right = https_answering(authority.issue("localhost", |_| {}), TWELVE).await;
    let url = |port: u16| format!("https://localhost:{port}/metrics");
    let trusted = format!(", ca_file = {ca:?}");
    assert_eq!(fetch_with(&url(right.port()), &trusted).await, twelve());
    let insecure = ", insecure = true";
    assert_eq!(fetch_with(&url(right.port()), insecure).await, twelve());
    let unknown = failed(fetch_with(&url(right.port()), "").await);
    assert!(
        unknown.contains("certificate") || unknown.contains("TLS"),
        "{unknown}"
    );
    let other = https_answering(authority.issue("www.example.com", |_| {}), TWELVE).await;
    let wrong = failed(fetch_with(&url(other.port()), &trusted).await);
    assert!(wrong.contains("name"), "{wrong}");
    let gone = format!(", ca_file = {:?}", folder.path().join("gone.pem"));
    let gone = failed(fetch_with(&url(right.port()), &gone).await);
    assert!(gone.contains("gone.pem"), "{gone}");
}

#[tokio::test]
async fn a_page_is_told_who_asks() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    };
    let token = write("token", "s3cr3t\n");
    let password = write("password", "Aladdin:open sesame\n");
    let none = folder.path().join("none");
    for (keys, expected) in [
        (String::new(), None),
        (format!(", token_file = {token:?}"), Some("Bearer s3cr3t")),
        (
            format!(", password_file = {password:?}"),
            Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ),
    ] {
        let (sender, mut heads) = tokio::sync::mpsc::unbounded_channel();
        let address = super::serve(move |mut stream| {
            let sender = sender.clone();
            async move {
                let head = super::read_request(&mut stream).await.unwrap();
                let _ = stream.write_all(TWELVE.as_bytes()).await;
                sender.send(head).unwrap();
            }
        })
        .await;
        let url = format!("http://{address}/metrics");
        assert_eq!(fetch_with(&url, &keys).await, twelve());
        let head = heads.recv().await.unwrap();
        let told = head
            .lines()
            .find_map(|line| line.strip_prefix("authorization: "));
        assert_eq!(told, expected, "{head}");
    }
    let keys = format!(", token_file = {none:?}");
    let problem = failed(fetch_with("http://127.0.0.1:9/", &keys).await);
    assert!(problem.contains("none: "), "nobody is asked: {problem}");
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
