//! How fast the pure functions are that every message passes: criterion, one core, no sockets.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use peerproof::wire::sip::Message;

const INVITE: &[u8] = include_bytes!("../../fixtures/messages/invite-on-mw.sip");

fn sip(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sip");
    group.throughput(Throughput::Elements(1));
    group.bench_function("parse and serialise an IMS INVITE", |bencher| {
        let mut out = Vec::with_capacity(4096);
        bencher.iter(|| {
            let message = Message::parse(Bytes::copy_from_slice(black_box(INVITE))).expect("valid");
            out.clear();
            out.extend_from_slice(message.bytes());
            black_box(&out);
        });
    });
    group.bench_function(
        "proxy step: Via, Route, Record-Route, Max-Forwards",
        |bencher| {
            bencher.iter(|| {
                let message =
                    Message::parse(Bytes::copy_from_slice(black_box(INVITE))).expect("valid");
                let forwarded = message
                    .edit()
                    .pop("Route")
                    .prepend(
                        "Via",
                        "SIP/2.0/TCP icscf1.ims.example:5060;branch=z9hG4bKx1;rport",
                    )
                    .prepend("Record-Route", "<sip:icscf1.ims.example:5060;lr>")
                    .set("Max-Forwards", "66")
                    .finish();
                black_box(forwarded.bytes().len())
            });
        },
    );
    group.finish();
}

criterion_group!(benches, sip);
criterion_main!(benches);
