//! What an attempt says, on its way into the outbox; held back here while the disk refuses it.

use std::{
    collections::VecDeque,
    io, thread,
    time::{Duration, Instant},
};

use experiment_spec::ids::AttemptKey;
use orchestrator_proto::v1::attempt_event::Event;

use super::Stop;
use crate::{
    events, fail_point,
    outbox::{Kept, Outbox},
};

/// Most events held back, minutes of an attempt; then the oldest are lost, but never how it started.
const MOST_HELD_BACK: usize = 1_000;
/// Between two tries to keep an attempt's last word on a disk that refuses.
const RETRY: Duration = Duration::from_secs(1);
/// A worker that is shut down waits no longer for its disk: the next one goes on from the checkpoint.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// Keeps the events of one attempt, in their order.
#[derive(Debug)]
pub(super) struct Keeper<'a> {
    outbox: &'a Outbox,
    key: AttemptKey,
    held_back: VecDeque<Event>,
    /// What the disk said when it began to refuse, path first.
    refusal: Option<String>,
    lost: u64,
    /// Whether the log says already that the outbox is full.
    dropped: bool,
}

impl<'a> Keeper<'a> {
    pub(super) fn new(outbox: &'a Outbox, key: AttemptKey) -> Self {
        Self { outbox, key, held_back: VecDeque::new(), refusal: None, lost: 0, dropped: false }
    }

    /// Keeps an event, now or when the disk takes it again.
    pub(super) fn keep(&mut self, event: Event) {
        self.held_back.push_back(event);
        self.try_again();
    }

    /// Keeps what was held back, if the disk takes it now.
    pub(super) fn try_again(&mut self) {
        if self.drain().is_err() && self.held_back.len() > MOST_HELD_BACK {
            let oldest = usize::from(matches!(self.held_back.front(), Some(Event::Started(_))));
            self.held_back.remove(oldest);
            self.lost += 1;
        }
    }

    fn drain(&mut self) -> io::Result<()> {
        while let Some(event) = self.held_back.front() {
            match self.outbox.append(self.key, event.clone()) {
                Ok(Kept::Yes) => {}
                Ok(Kept::Dropped) => self.say_full(),
                Err(error) => return Err(self.refused(error)),
            }
            self.held_back.pop_front();
        }
        let Some(why) = &self.refusal else { return Ok(()) };
        let lost = self.lost;
        let line = format!("what this attempt said could not be kept for a while ({why}); {lost} messages were lost");
        self.outbox.append(self.key, events::log(events::WORKER, &line))?;
        tracing::info!(attempt = %self.key, lost, "the disk takes the attempt's events again");
        (self.refusal, self.lost) = (None, 0);
        Ok(())
    }

    fn refused(&mut self, error: io::Error) -> io::Error {
        if self.refusal.is_none() {
            tracing::warn!(attempt = %self.key, %error, "events cannot be kept, holding them back");
            self.refusal = Some(error.to_string());
        }
        error
    }

    fn say_full(&mut self) {
        if !std::mem::replace(&mut self.dropped, true) {
            let line = "the outbox is full: metric points of this attempt are being dropped";
            tracing::warn!(attempt = %self.key, "{line}");
            let _ = self.outbox.append(self.key, events::log(events::WORKER, line));
        }
    }

    /// Keeps the last word on disk behind everything else, however long the disk refuses: until the worker
    /// goes away.
    pub(super) fn keep_last_word(mut self, last_word: &Event, wanted_stop: impl Fn() -> Option<Stop>) {
        let mut stopping_since = None;
        while let Err(error) = self.drain().and_then(|()| self.outbox.append(self.key, last_word.clone())) {
            tracing::error!(attempt = %self.key, %error, "the attempt's last word cannot be kept, trying again");
            let out_of_patience = match wanted_stop() {
                Some(Stop::Abandon) => true,
                Some(Stop::Release) => stopping_since.get_or_insert_with(Instant::now).elapsed() > SHUTDOWN_PATIENCE,
                _ => false,
            };
            if out_of_patience {
                return;
            }
            thread::sleep(RETRY);
        }
        fail_point::passes("outbox-before-send");
    }
}
