//! Row 24 of the failure classes: the query path does no input or output.
//!
//! A thread that may ask the kernel for memory, locks and the time, and for nothing else, answers
//! queries of every kind. Any other system call ends the process.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::collections::BTreeMap;

use meridian_dns::{
    answer::{Meta, Outcome, Transport, respond},
    snapshot::Snapshot,
    types::UnixTime,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

/// Memory, locks, time, and what ends a thread.
const ALLOWED: [libc::c_long; 18] = [
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

const NAMES: [&str; 14] = [
    "",
    "com",
    "example.com",
    "www.example.com",
    "WWW.eXample.COM",
    "alias.example.com",
    "x.wild.example.com",
    "wild.example.com",
    "c.example.com",
    "x.old.example.com",
    "x.sub.example.com",
    "nothing.example.com",
    "version.bind",
    "example.org",
];

/// A query with a client subnet, by hand: the test must not depend on what an encoder refuses.
fn query(name: &str, rtype: u16, class: u16, flags: [u8; 2]) -> Vec<u8> {
    let mut query = vec![0, 1, flags[0], flags[1], 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend(label.bytes());
    }
    query.push(0);
    query.extend(rtype.to_be_bytes());
    query.extend(class.to_be_bytes());
    // OPT with a payload of 1232 octets, NSID asked for, and 133.11.0.0/24.
    query.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 15, 0, 3, 0, 0]);
    query.extend([0, 8, 0, 7, 0, 1, 24, 0, 133, 11, 0]);
    query
}

fn answer_everything(snapshot: &Snapshot) -> (u64, u64) {
    let mut out = Vec::new();
    let (mut replies, mut drops) = (0, 0);
    let types = (0..=300).chain([32_769, 65_280, 65_535]);
    for rtype in types {
        for name in NAMES {
            for (class, flags) in [(1, [1, 0]), (3, [0, 0]), (1, [0x28, 0]), (1, [0x80, 0])] {
                let query = query(name, rtype, class, flags);
                for transport in [Transport::Udp, Transport::Tcp] {
                    let source = "192.0.2.77:5353".parse().unwrap();
                    let now = UnixTime::default();
                    let meta = Meta {
                        source,
                        transport,
                        now,
                    };
                    for octets in [&query[..], &query[..query.len() / 2]] {
                        match respond(snapshot, octets, &meta, &mut out) {
                            Outcome::Reply(_) => replies += 1,
                            Outcome::Drop(_) => drops += 1,
                        }
                    }
                }
            }
        }
    }
    (replies, drops)
}

#[test]
fn answering_asks_the_kernel_for_nothing_but_memory() {
    let (_, snapshot) = common::snapshot();
    let rules: BTreeMap<i64, Vec<_>> = ALLOWED.map(|call| (call, Vec::new())).into();
    let filter: BpfProgram = SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        TargetArch::x86_64,
    )
    .unwrap()
    .try_into()
    .unwrap();
    let answering = std::thread::spawn(move || {
        if let Err(problem) = apply_filter(&filter) {
            // Some containers forbid it; say so rather than pass in silence.
            return Err(problem.to_string());
        }
        Ok(answer_everything(&snapshot))
    });
    match answering.join().unwrap() {
        Ok((replies, drops)) => assert!(replies > 10_000 && drops > 1_000),
        Err(problem) => eprintln!("SKIP no seccomp here: {problem}"),
    }
}
