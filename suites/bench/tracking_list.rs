//! Does finding peers cost the same whether a thousand are tracked or a million? Askers are drawn anew each time,
//! so that memory is as cold as it is under load.

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use peerproof::{
    load::{
        population::{Person, Population, mixed},
        tracker::{asker, fill, finding},
    },
    node::tracking_list::{Rules, TrackingList},
    time::At,
};

const SIZES: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];

fn find(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("find 10 peers");
    group.throughput(Throughput::Elements(1));
    group.warm_up_time(Duration::from_secs(1));
    group.measurement_time(Duration::from_secs(2));
    for (name, swarm) in [("swarms of 200", 200), ("one swarm", u32::MAX)] {
        for peers in SIZES {
            let population = Population {
                peers,
                swarms: peers.div_ceil(swarm),
                seed: 7,
            };
            let questions: Vec<_> = (0..4096u64)
                .map(|n| (mixed(n) % u64::from(peers)) as u32)
                .map(|resident| {
                    (
                        asker(Person::Resident(resident)),
                        finding(&population, resident),
                    )
                })
                .collect();
            let mut next = questions.iter().cycle();
            // Filled once, and only if it is asked for.
            let mut list = None;
            group.bench_function(BenchmarkId::new(name, peers), |bencher| {
                let list = list.get_or_insert_with(|| {
                    let mut list = TrackingList::new(Rules::default(), 7);
                    fill(&mut list, &population);
                    assert_eq!(peers as usize, list.len());
                    list
                });
                bencher.iter(|| {
                    let (asker, question) = next.next().expect("it goes round");
                    let answer = list.answer(At::ZERO, asker, question);
                    assert!(answer.is_successful());
                    black_box(answer)
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, find);
criterion_main!(benches);
