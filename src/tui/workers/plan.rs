//! Plans for requests. A question that is older than another is not answered.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::forest::Forest;
use crate::ops::{self, Context, LookedIn, Request};
use crate::tui::msg::Msg;
use crate::tui::query::QueryId;

use super::Workers;

impl Workers {
    /// Makes a plan. Whatever may affect other images is planned on a forest that is looked at just now,
    /// with the images remembered from elsewhere looked at again.
    pub(super) fn plan(
        &self,
        query_id: QueryId,
        request: &Request,
        forest: Arc<Forest>,
        delay: Duration,
    ) {
        if !delay.is_zero() {
            thread::sleep(delay);
        }
        let is_old = || self.newest.plan.load(Ordering::SeqCst) != query_id;
        if is_old() {
            return;
        }
        let (context, shown) = if request.only_adds() {
            let looked_in = LookedIn::within(self.scan.roots.clone());
            (self.context(forest, looked_in), None)
        } else {
            let (looked, shown) = Context::again(
                Arc::clone(&self.host),
                self.state_dir.clone(),
                &forest,
                &self.scan,
            );
            for complaint in looked.complaints {
                self.answer(Msg::Tell(format!("qanopy {complaint}.")));
            }
            let keys = self.keys.clone();
            let mut context = Context {
                keys,
                peers: self.peers.clone(),
                ..looked.context
            };
            // The screen may not have heard of any yet.
            context.ask_machines();
            (context, Some(shown))
        };
        if is_old() {
            return;
        }
        self.secrets.take_asked();
        let plan = ops::plan(&context, request);
        if !plan.refusals.is_empty() {
            self.tell_locked(query_id, &context);
        }
        self.answer(Msg::Planned(query_id, Box::new(plan), shown));
    }

    /// Makes plans that are agreed to together, and only create.
    pub(super) fn plan_each(
        &self,
        query_id: QueryId,
        requests: &[Request],
        forest: Arc<Forest>,
        delay: Duration,
    ) {
        thread::sleep(delay);
        if self.newest.plan.load(Ordering::SeqCst) != query_id {
            return;
        }
        let context = self.context(forest, LookedIn::default());
        self.secrets.take_asked();
        let plans = ops::plan_each(&context, requests);
        if plans.iter().any(|plan| !plan.refusals.is_empty()) {
            self.tell_locked(query_id, &context);
        }
        self.answer(Msg::PlannedEach(query_id, plans));
    }

    /// Tells of the first image whose passphrase was asked for in vain.
    fn tell_locked(&self, query_id: QueryId, context: &Context) {
        let asked = self.secrets.take_asked();
        let mut asked = asked.into_iter();
        if let Some(image) = asked.find(|image| ops::is_locked(context, image)) {
            self.answer(Msg::Locked(query_id, image));
        }
    }
}
