//! What a subscriber is told: a span for each load, an event for each removal.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt::Debug,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use larder::{Cache, loader};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, prelude::*, registry::LookupSpan};

/// The fields of a span or event, by name.
#[derive(Clone, Debug, Default, PartialEq)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Fields {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// The name of the span that an event is in, and its fields.
type Told = (Option<&'static str>, Fields);

/// Notes spans when they close, and events with the name of the span they are in.
#[derive(Clone, Default)]
struct Notes {
    spans: Arc<Mutex<Vec<(&'static str, Fields)>>>,
    events: Arc<Mutex<Vec<Told>>>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Notes {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        context.span(id).expect("new").extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).expect("open");
        values.record(span.extensions_mut().get_mut::<Fields>().expect("put there"));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let within = context.event_span(event).map(|span| span.name());
        self.events.lock().unwrap().push((within, fields));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let span = context.span(&id).expect("closing");
        let fields = span.extensions().get::<Fields>().expect("put there").clone();
        self.spans.lock().unwrap().push((span.name(), fields));
    }
}

/// What is told while `work` runs on this thread.
fn notes_of(work: impl FnOnce()) -> Notes {
    let notes = Notes::default();
    let subscriber = tracing_subscriber::registry().with(notes.clone());
    tracing::subscriber::with_default(subscriber, work);
    notes
}

fn outcomes(notes: &Notes) -> Vec<(&'static str, String)> {
    let spans = notes.spans.lock().unwrap();
    let outcome = |fields: &Fields| fields.get("outcome").unwrap_or("none").to_owned();
    spans.iter().map(|(name, fields)| (*name, outcome(fields))).collect()
}

#[test]
fn every_load_is_a_span_with_its_outcome() {
    let notes = notes_of(|| {
        let cache = Cache::<u32, u32>::builder().capacity(10).name("numbers").build();
        cache.get_or_insert_with(&1, || {
            tracing::info!("from the loader");
            1
        });
        cache.get_or_insert_with(&1, || unreachable!("it is there"));
        assert!(cache.try_get_or_insert_with(&2, || Err::<u32, _>("no")).is_err());
        let abandoned = catch_unwind(AssertUnwindSafe(|| {
            cache.get_or_insert_with(&3, || panic!("on purpose"))
        }));
        assert!(abandoned.is_err());
        cache.entry(4).or_insert_with(|| 4);
    });
    let wanted = ["value", "failed", "abandoned", "value"].map(|what| ("load", what.to_owned()));
    assert_eq!(outcomes(&notes), wanted);
    let spans = notes.spans.lock().unwrap();
    assert!(spans.iter().all(|(_, fields)| fields.get("cache") == Some("numbers")));
    assert_eq!(spans[0].1.get("waiters"), Some("0"));
    let events = notes.events.lock().unwrap();
    assert_eq!(events.len(), 1, "nothing was removed");
    assert_eq!(events[0].0, Some("load"), "the loader runs within the span");
}

#[test]
fn loads_of_a_loader_are_spans_wherever_they_run() {
    let notes = notes_of(|| {
        let cache = Cache::<u32, u32>::builder()
            .capacity(10)
            .name("halves")
            .loader(loader::from_fn(async |n: u32| {
                for _ in 0..3 {
                    // Not at once, so that others come.
                    tokio::task::yield_now().await;
                }
                tracing::info!("from the loader");
                Ok::<_, Infallible>(n.is_multiple_of(2).then_some(n / 2))
            }))
            .build();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let (one, other) = tokio::join!(cache.get_async(&8), cache.get_async(&8));
            assert_eq!((one.ok(), other.ok()), (Some(4), Some(4)));
            assert!(cache.get_async(&7).await.is_err());
            assert_eq!(cache.get_many_async([&2, &4]).await.len(), 2);
        });
    });
    let wanted = [("load", "value"), ("load", "not_found"), ("load_many", "none")];
    assert_eq!(outcomes(&notes), wanted.map(|(name, what)| (name, what.to_owned())));
    let spans = notes.spans.lock().unwrap();
    assert_eq!(spans[0].1.get("waiters"), Some("2"), "who asked first waits like others");
    assert_eq!(spans[2].1.get("keys"), Some("2"));
    let events = notes.events.lock().unwrap();
    assert!(events.iter().all(|(within, _)| within.is_some_and(|name| name.starts_with("load"))));
}

#[test]
fn every_removal_is_an_event_with_its_cause() {
    // Both with a fast path of their own and without.
    for is_weighted in [false, true] {
        let notes = notes_of(|| {
            let builder = Cache::<u32, u32>::builder().capacity(2).name("few").stripes(1);
            let builder = builder.policy(larder::policy::Lru::new());
            let builder = if is_weighted { builder.weigher(|_, _| 1) } else { builder };
            let cache = builder.build();
            cache.insert(1, 1);
            cache.insert(1, 2);
            cache.insert(2, 2);
            cache.insert(3, 3);
            cache.remove(&3);
            cache.insert_with_ttl(4, 4, std::time::Duration::ZERO);
        });
        let events = notes.events.lock().unwrap();
        let causes: Vec<_> =
            events.iter().map(|(_, fields)| fields.get("cause").unwrap()).collect();
        assert_eq!(causes, ["replaced", "size", "explicit", "expired"], "weighted: {is_weighted}");
        assert!(events.iter().all(|(_, fields)| fields.get("cache") == Some("few")));
        assert!(events.iter().all(|(_, fields)| fields.get("weight") == Some("1")));
        assert!(
            events.iter().all(|(_, fields)| fields.get("version") == Some("0")),
            "none is kept"
        );
    }
}

/// Panics when it is told of the first removal.
#[derive(Default)]
struct Fragile(AtomicBool);

impl<S: Subscriber> Layer<S> for Fragile {
    fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
        assert!(self.0.swap(true, Ordering::Relaxed), "on purpose");
    }
}

#[test]
fn the_listener_is_told_of_all_that_leaves_even_if_the_subscriber_panics_p11() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let cache = Cache::<u32, Arc<str>>::builder()
        .capacity(10)
        .stripes(1)
        .on_removal(move |&key, _, _| heard.lock().unwrap().push(key))
        .build();
    cache.insert(0, "a".into());
    let subscriber = tracing_subscriber::registry().with(Fragile::default());
    tracing::subscriber::with_default(subscriber, || {
        assert!(catch_unwind(AssertUnwindSafe(|| cache.remove(&0))).is_err());
        for key in 1..5 {
            cache.insert(key, "b".into());
            cache.remove(&key);
        }
    });
    assert_eq!(*told.lock().unwrap(), [0, 1, 2, 3, 4]);
    cache.validate();
}
