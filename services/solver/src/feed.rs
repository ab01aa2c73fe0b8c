//! The live events: numbered, the newest kept for those who reconnect.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use sublet_base::UnixTime;
use sublet_wire::solver::{Event, EventBody};
use tokio::sync::broadcast;

const KEPT: usize = 4_096;

/// Publishes events and replays recent ones.
pub(crate) struct Feed {
    history: Mutex<History>,
    live: broadcast::Sender<Arc<Event>>,
}

struct History {
    /// Id of the newest event ever published, or where this process started to count.
    last: u64,
    kept: VecDeque<Arc<Event>>,
}

/// What a subscriber gets.
pub(crate) struct Subscription {
    /// Events it missed, oldest first; the first is a [`EventBody::Gap`] if some are lost.
    pub(crate) missed: Vec<Arc<Event>>,
    /// Events from now on.
    pub(crate) live: broadcast::Receiver<Arc<Event>>,
}

impl Feed {
    /// Ids start at the current second shifted far up, so that they keep growing over restarts without being stored.
    pub(crate) fn new() -> Self {
        let (live, _) = broadcast::channel(KEPT / 4);
        Self { history: Mutex::new(History { last: wall_clock().0 << 20, kept: VecDeque::new() }), live }
    }

    pub(crate) fn publish(&self, body: EventBody) {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.last += 1;
        let event = Arc::new(Event { id: history.last, at: wall_clock(), body });
        if history.kept.len() == KEPT {
            history.kept.pop_front();
        }
        history.kept.push_back(Arc::clone(&event));
        // Sent under the lock, so that subscribers see ids in order. Nobody listening is fine.
        let _ = self.live.send(event);
    }

    /// Everything after event `after`, or only what comes (`None`).
    pub(crate) fn subscribe(&self, after: Option<u64>) -> Subscription {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let live = self.live.subscribe();
        let Some(after) = after else { return Subscription { missed: Vec::new(), live } };
        let oldest = history.kept.front().map_or(history.last + 1, |event| event.id);
        let mut missed = Vec::new();
        if after.saturating_add(1) < oldest || after > history.last {
            missed.push(Arc::new(Event { id: oldest - 1, at: wall_clock(), body: EventBody::Gap }));
        }
        missed.extend(history.kept.iter().filter(|event| event.id > after || after > history.last).cloned());
        Subscription { missed, live }
    }
}

fn wall_clock() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

#[cfg(test)]
mod tests {
    use sublet_base::B256;

    use super::*;

    fn order(n: u8) -> EventBody {
        EventBody::OrderAdded { order: B256::repeat_byte(n) }
    }

    #[test]
    fn a_subscriber_that_comes_back_misses_nothing() {
        let feed = Feed::new();
        feed.publish(order(1));
        feed.publish(order(2));
        feed.publish(order(3));
        let first = feed.history.lock().unwrap().kept[0].id;
        let bodies = |after| feed.subscribe(Some(after)).missed.iter().map(|e| e.body.clone()).collect::<Vec<_>>();
        assert_eq!(bodies(first), [order(2), order(3)]);
        assert_eq!(bodies(first + 2), []);
        assert!(feed.subscribe(None).missed.is_empty());
    }

    #[test]
    fn lost_events_are_admitted() {
        let feed = Feed::new();
        feed.publish(order(1));
        let id = feed.history.lock().unwrap().kept[0].id;
        assert_eq!(feed.subscribe(Some(7)).missed[0].body, EventBody::Gap, "from before this process");
        assert_eq!(feed.subscribe(Some(id + 9)).missed[0].body, EventBody::Gap, "an id never given");
        assert_eq!(feed.subscribe(Some(u64::MAX)).missed[0].body, EventBody::Gap, "the last there could be");
        for _ in 0..KEPT {
            feed.publish(order(2));
        }
        let missed = feed.subscribe(Some(id - 1)).missed;
        assert_eq!((missed.len(), missed[0].body.clone()), (KEPT + 1, EventBody::Gap));
        assert!(missed.windows(2).all(|w| w[0].id < w[1].id));
    }
}
