//! What a plan of a host would do: the rows that it marks, and the ways out of its refusals. What is agreed to is not
//! this but the text that the host asks about.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::taken::request_on;
use crate::forest::far::{Name, believed_path, believed_sentence};
use crate::ops::{Effect, EffectKind, Plan, Request, WayOut};

/// Bytes of it that travel at most; of more nothing does.
const MOST_BYTES: usize = 512 << 10;
/// Ways out at most: each has a digit.
const MOST_WAYS: usize = 9;

/// What a plan would do.
#[derive(Debug, Clone, Default)]
pub struct PlanFacts {
    /// What happens to which file.
    pub effects: Vec<Effect>,
    /// What may be asked instead of what is refused.
    pub ways_out: Vec<WayOut>,
}

/// As it travels.
#[derive(Debug, Serialize, Deserialize)]
struct Sent {
    effects: Vec<(EffectKind, Name)>,
    ways_out: Vec<(String, Request)>,
}

impl PlanFacts {
    /// Those of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let ways_out = plan.refusals.iter().flat_map(|refusal| &refusal.ways_out);
        Self {
            effects: plan.effects.clone(),
            ways_out: ways_out.take(MOST_WAYS).cloned().collect(),
        }
    }

    /// The text that travels; empty where that is too long, or names are no text.
    #[must_use]
    pub fn text(&self) -> String {
        let effects = self.effects.iter();
        let ways = self.ways_out.iter();
        let sent = Sent {
            effects: effects
                .map(|effect| (effect.kind, Name::of(&effect.path)))
                .collect(),
            ways_out: ways
                .map(|way| (way.label.clone(), way.request.clone()))
                .collect(),
        };
        let text = serde_json::to_string(&sent).unwrap_or_default();
        if text.len() > MOST_BYTES {
            return String::new();
        }
        text
    }

    /// What is believed of a text that a host sent: each file that it names is one of its own.
    #[must_use]
    pub fn taken(host: &str, text: &str) -> Option<Self> {
        let sent: Sent = serde_json::from_str(text).ok()?;
        let here = |path: &Path| believed_path(host, path);
        let effects = sent.effects.into_iter().filter_map(|(kind, path)| {
            Some(Effect {
                kind,
                path: here(&PathBuf::from(path.name()))?,
                bytes: None,
                detail: String::new(),
                counterpart: None,
            })
        });
        // A digit means what its line says: where one cannot be, none is.
        let ways = sent
            .ways_out
            .into_iter()
            .take(MOST_WAYS)
            .map(|(text, request)| {
                Some(WayOut {
                    label: believed_sentence(&text),
                    request: request_on(host, request)?,
                })
            });
        Some(Self {
            effects: effects.collect(),
            ways_out: ways.collect::<Option<_>>().unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_would_do_is_told_by_the_names_that_files_have_here() {
        let effect = |path: &str| Effect {
            kind: EffectKind::Breaks,
            path: path.into(),
            bytes: Some(1),
            detail: "x".to_owned(),
            counterpart: None,
        };
        let way = |path: &str| WayOut {
            label: "a\u{7}".to_owned(),
            request: Request::discard(vec![path.into()]),
        };
        let facts = PlanFacts {
            effects: vec![effect("/srv/a"), effect("/../x")],
            ways_out: vec![way("/srv/b")],
        };
        let taken = PlanFacts::taken("web", &facts.text()).unwrap();
        let [only] = &taken.effects[..] else { panic!() };
        assert_eq!(
            (only.kind, &only.path),
            (EffectKind::Breaks, &"web:/srv/a".into())
        );
        let [only] = &taken.ways_out[..] else {
            panic!()
        };
        assert_eq!(only.label, "a\\u{7}");
        assert_eq!(only.request, Request::discard(vec!["web:/srv/b".into()]));
        // What names a file of another machine names none.
        let facts = PlanFacts {
            effects: Vec::new(),
            ways_out: vec![way("/srv/b"), way("db:/srv/b")],
        };
        assert!(
            PlanFacts::taken("web", &facts.text())
                .unwrap()
                .ways_out
                .is_empty()
        );
        assert!(PlanFacts::taken("web", "").is_none());
    }
}
