//! A chain of very many layers.

use crate::forest::Node;
use crate::host::printable;
use crate::ops::{Flatten, Remedy};

use super::finder::{Finder, Found, Subject};

/// More layers than this are told.
const MANY: usize = 30;

pub(super) const FINDER: Finder = Finder {
    name: "deep-chain",
    why: "Each layer is one more file that is open all the time, and one more table to look into for what the layers \
          above do not hold. Starting a guest and reading become slower with each of them.",
    look,
};

fn look(subject: &Subject<'_>) -> Vec<Found> {
    let forest = &subject.context.forest;
    let is_last = |node: &&Node| node.backing.is_some() && forest.is_leaf(node) && !node.in_loop;
    let deep = subject.images().filter(is_last).filter_map(|node| {
        let chain = forest.chain(node.id);
        let root = forest.get(*chain.last()?)?;
        (chain.len() > MANY).then(|| {
            let text = format!(
                "{} is the last of {} layers.",
                printable(&node.path),
                chain.len()
            );
            let flatten = Flatten {
                image: node.path.clone(),
                onto: Some(root.path.clone()),
                new: None,
                compress: None,
            };
            Found::of(node, text).helped_by(vec![Remedy::ask(flatten)])
        })
    });
    deep.collect()
}
