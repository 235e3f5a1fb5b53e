//! The one place that knows hickory-server: its `RequestHandler` over our `respond`.
//!
//! The encrypted transports (DoT, DoH, DoQ) will come through it. Plain UDP and TCP have sockets of
//! their own; `docs/decisions/0001-transports.md` says why.
//!
//! hickory's server takes a reply as records, not as octets, so ours are decoded and it encodes them
//! again: the same records in the same order, without compression against the question.

use std::{sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use hickory_proto::op::{Header, HeaderCounts, Message, Metadata, ResponseCode};
use hickory_server::{
    net::{runtime::Time, xfer::Protocol},
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use tracing::debug;

use super::Respond;
use crate::{
    answer::{Meta, Outcome, Transport},
    metrics::Block,
};

/// Answers hickory's requests with what [`Respond`] says.
#[derive(Debug)]
pub struct Handler<S> {
    state: Arc<ArcSwap<S>>,
    block: Arc<Block>,
}

impl<S: Respond> Handler<S> {
    /// Answers from `state` and counts in `block`.
    pub fn new(state: Arc<ArcSwap<S>>, block: Arc<Block>) -> Self {
        Self { state, block }
    }

    /// Our reply to the octets of `request`; `None` when there is none.
    #[allow(clippy::disallowed_methods)] // the runner reads the clock
    fn reply(&self, request: &Request) -> Option<Vec<u8>> {
        let snapshot = self.state.load();
        let counters = self.block.batch(snapshot.labels());
        let (query, source) = (request.as_slice(), request.src());
        let mut out = Vec::new();
        let started = Instant::now();
        let transport = match request.protocol() {
            Protocol::Udp => Transport::Udp,
            // Every other transport is a stream without a small limit of its own.
            _ => Transport::Tcp,
        };
        let meta = Meta {
            source,
            transport,
            now: super::wall_clock(),
        };
        match snapshot.respond(query, &meta, &mut out) {
            Outcome::Reply(summary) => {
                counters.record(transport, &summary);
                counters.took(started.elapsed(), 1);
                Some(out)
            }
            Outcome::Drop(reason) => {
                counters.count_drop(reason.into());
                None
            }
        }
    }
}

#[async_trait]
impl<S: Respond> RequestHandler for Handler<S> {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut handle: R,
    ) -> ResponseInfo {
        let mut message = match self.reply(request).as_deref().map(Message::from_vec) {
            None => return nothing_sent(request),
            Some(Ok(message)) => message,
            Some(Err(problem)) => {
                debug!(%problem, "hickory cannot read our reply");
                let metadata = Metadata::response_from_request(&request.metadata);
                let mut failure =
                    Message::new(metadata.id, metadata.message_type, metadata.op_code);
                failure.metadata.response_code = ResponseCode::ServFail;
                failure
            }
        };
        let edns = message.edns.take();
        let response = MessageResponseBuilder::new(&request.queries, edns.as_ref()).build(
            message.metadata,
            &message.answers,
            &message.authorities,
            [],
            &message.additionals,
        );
        match handle.send_response(response).await {
            Ok(info) => info,
            Err(problem) => {
                debug!(%problem, "hickory cannot send our reply");
                nothing_sent(request)
            }
        }
    }
}

fn nothing_sent(request: &Request) -> ResponseInfo {
    ResponseInfo::from(Header {
        metadata: Metadata::response_from_request(&request.metadata),
        counts: HeaderCounts::default(),
    })
}
