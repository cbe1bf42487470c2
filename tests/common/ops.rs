//! What the model of loads is told to do, at random.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use proptest::prelude::*;

use super::{KEYS, TAGS, book::Told, subjects::Kind};

#[derive(Clone, Debug)]
pub enum Op {
    Ask(u16, Kind),
    /// Polls one of the callers, woken or not.
    Poll(u8),
    /// Polls one that was woken.
    PollWoken(u8),
    Tell(u8, Told),
    Drop(u8),
    /// A blocking call whose load, if it comes to one, is overtaken in this way.
    Block(u16, Told, Option<Write>),
    /// Loads a key anew so many times, each of which fails at once.
    Fail(u16, u8),
    Write(Write),
    Advance(u16),
}

#[derive(Clone, Copy, Debug)]
pub enum Write {
    Insert(u16),
    InsertIfAbsent(u16),
    ReplaceIf(u16, bool),
    Remove(u16),
    Clear,
    Retain(u8),
    RemoveTag(u16),
    /// And back.
    NoCapacity,
}

fn told() -> impl Strategy<Value = Told> {
    prop_oneof![
        6 => Just(Told::Value),
        2 => Just(Told::Error),
        1 => Just(Told::Panic),
        1 => Just(Told::Mixed),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        4 => (0..KEYS).prop_map(Write::Insert),
        1 => (0..KEYS).prop_map(Write::InsertIfAbsent),
        1 => (0..KEYS, any::<bool>()).prop_map(|(key, wanted)| Write::ReplaceIf(key, wanted)),
        4 => (0..KEYS).prop_map(Write::Remove),
        1 => Just(Write::Clear),
        1 => (0..3_u8).prop_map(Write::Retain),
        1 => (0..TAGS).prop_map(Write::RemoveTag),
        1 => Just(Write::NoCapacity),
    ]
}

pub fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        10 => (0..KEYS, any::<Kind>()).prop_map(|(key, kind)| Op::Ask(key, kind)),
        3 => any::<u8>().prop_map(Op::Poll),
        10 => any::<u8>().prop_map(Op::PollWoken),
        8 => (any::<u8>(), told()).prop_map(|(load, told)| Op::Tell(load, told)),
        5 => any::<u8>().prop_map(Op::Drop),
        2 => (0..KEYS, told(), prop::option::of(write()))
            .prop_map(|(key, told, write)| Op::Block(key, told, write)),
        1 => (0..KEYS, 1..6_u8).prop_map(|(key, times)| Op::Fail(key, times)),
        7 => write().prop_map(Op::Write),
        1 => (1..800_u16).prop_map(Op::Advance),
        2 => (1..100_u16).prop_map(Op::Advance),
    ];
    prop::collection::vec(op, 1..160)
}
