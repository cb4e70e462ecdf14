use sessiond_queue::{SqliteStore, ids::*, limits::Limits, store::Store, types::*};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
fn cpu(name: &str) -> Duration {
    // from schedstat ns
    for t in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let c = std::fs::read_to_string(t.path().join("comm")).unwrap_or_default();
        if c.trim() == name {
            let s = std::fs::read_to_string(t.path().join("schedstat")).unwrap();
            return Duration::from_nanos(s.split(' ').next().unwrap().parse().unwrap());
        }
    }
    Duration::ZERO
}
fn raw(path: &Path, n: usize) -> f64 {
    let c = rusqlite::Connection::open(path).unwrap();
    c.execute_batch("PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;CREATE TABLE IF NOT EXISTS event(id INTEGER PRIMARY KEY, at INTEGER, payload TEXT) STRICT;").unwrap();
    let p = "x".repeat(1024);
    let b = Instant::now();
    for _ in 0..n {
        c.prepare_cached("INSERT INTO event(at,payload) VALUES(0,?1)")
            .unwrap()
            .execute([&p])
            .unwrap();
    }
    n as f64 / b.elapsed().as_secs_f64()
}
fn ev(k: usize) -> Enqueue {
    Enqueue {
        event_id: EventId::mint(),
        session: SessionRef::Key {
            agent: "generic".into(),
            key: format!("k{k}"),
        },
        kind: "Note".into(),
        agent_id: None,
        payload: "x".repeat(1024),
        dedup: None,
        effect: Effect::None,
        cwd: Some("/src".into()),
        project: Some("/src".into()),
        accepted_at: Timestamp(1),
    }
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let dir = Path::new(&a[1]);
    let per: usize = a[2].parse().unwrap();
    let sets: Vec<usize> = a[3].split(',').map(|x| x.parse().unwrap()).collect();
    let reps: usize = a[4].parse().unwrap();
    let rt = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    rt.block_on(async {
        let s = Arc::new(
            SqliteStore::open(
                dir.join("q.db"),
                Limits {
                    session_depth_max: 1_000_000,
                    ..Limits::default()
                },
            )
            .await
            .unwrap(),
        );
        let mut out = vec![vec![]; sets.len()];
        let mut cpus = vec![vec![]; sets.len()];
        let mut fl = vec![];
        for _ in 0..reps {
            fl.push(raw(&dir.join("raw.db"), per.min(1500)));
            for (i, &c) in sets.iter().enumerate() {
                let n = per / c * c;
                let c0 = cpu("queue-writer");
                let b = Instant::now();
                let hs: Vec<_> = (0..c)
                    .map(|k| {
                        let s = s.clone();
                        tokio::spawn(async move {
                            for j in 0..n / c {
                                s.enqueue(ev(k), Timestamp(j as i64)).await.unwrap();
                            }
                        })
                    })
                    .collect();
                for h in hs {
                    h.await.unwrap();
                }
                out[i].push(n as f64 / b.elapsed().as_secs_f64());
                cpus[i].push((cpu("queue-writer") - c0).as_secs_f64() * 1e6 / n as f64);
            }
        }
        let med = |v: &mut Vec<f64>| {
            v.sort_by(f64::total_cmp);
            v[v.len() / 2]
        };
        let f = med(&mut fl);
        println!("raw {f:.0}/s = {:.0} us", 1e6 / f);
        for (i, c) in sets.iter().enumerate() {
            let m = med(&mut out[i]);
            println!(
                "{c:4} callers {m:.0}/s = {:.2}x   writer cpu {:.1} us/event",
                m / f,
                med(&mut cpus[i])
            );
        }
        s.close().await;
    });
}
