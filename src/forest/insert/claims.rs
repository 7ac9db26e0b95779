//! What the images built on a file say of its format: one that all call raw is raw, whatever stands in it.

use crate::forest::growth::{Claim, Claims};
use crate::forest::node::index;
use crate::forest::{Backing, Content, Forest, Node, NodeId};
use crate::host::FileId;

impl Forest {
    /// The backing link of a node, also of one that is shown as raw.
    pub(super) fn true_link(&self, node: &Node) -> Option<Box<Backing>> {
        match self.growth.overruled.get(&node.id) {
            Some((_, link)) => link.clone(),
            None => self.whole_link(node),
        }
    }

    /// Counts what a link says.
    pub(super) fn claim(&mut self, claim: Option<Claim>, change: impl Fn(u32) -> u32) {
        let Some(Claim { file, is_raw }) = claim else {
            return;
        };
        let claims = &mut self.growth.claims;
        match claims.get_mut(&file) {
            Some(known) if is_raw => {
                known.raw = change(known.raw);
                if known.raw == 0 {
                    claims.remove(&file);
                }
            }
            Some(known) => known.other = change(known.other),
            None if is_raw => {
                let raw = change(0);
                let other = self.other_claims(file);
                if raw > 0 {
                    self.growth.claims.insert(file, Claims { raw, other });
                }
            }
            // Of most files nobody ever says that they are raw.
            None => return,
        }
        if let Some(id) = self.of_file(file)
            && self.overrule(id)
        {
            self.link(id);
        }
    }

    /// How many name this file as a backing file of a format other than raw.
    pub(super) fn other_claims(&self, file: FileId) -> u32 {
        let members = self.of_file(file).map(|id| self.members(id));
        let members = members.into_iter().flatten();
        let shown = members.filter_map(|id| Some((id, self.get(id)?.backing.as_deref()?)));
        let hidden = self.growth.overruled.iter();
        let hidden = hidden.filter_map(|(id, (_, backing))| Some((*id, backing.as_deref()?)));
        let is_raw = false;
        let says_other = |(id, link): &(NodeId, &Backing)| {
            let of = self.get(*id).and_then(Node::file_id);
            Claim::by(of, Some(link)) == Some(Claim { file, is_raw })
        };
        u32::try_from(shown.chain(hidden).filter(says_other).count()).unwrap_or(u32::MAX)
    }

    /// A file that is recorded as raw by all that are built on it is raw, whatever magic number its
    /// guest wrote into it. True if this changed the node.
    pub(super) fn overrule(&mut self, id: NodeId) -> bool {
        let at = index(id);
        let Some(node) = self.nodes.get(at) else {
            return false;
        };
        let claims = node
            .file_id()
            .and_then(|file| self.growth.claims.get(&file))
            .copied()
            .unwrap_or_default();
        let is_raw = claims.raw > 0 && claims.other == 0;
        let overruled = self.growth.overruled.contains_key(&id);
        let looks_otherwise = matches!(
            node.content,
            Content::Qcow2(_) | Content::Opaque(_) | Content::Damaged(_)
        ) && node.location.is_met();
        if is_raw && !overruled && looks_otherwise {
            // A link that is hidden follows no change of the name that its end shows.
            let backing = self.whole_link(node);
            if let Some(node) = self.nodes.get_mut(at) {
                let content = std::mem::replace(&mut node.content, Content::Raw);
                node.backing = None;
                self.growth.overruled.insert(id, (content, backing));
            }
        } else if !is_raw && overruled {
            if let Some((content, backing)) = self.growth.overruled.remove(&id)
                && let Some(node) = self.nodes.get_mut(at)
            {
                node.content = content;
                node.backing = backing;
            }
        } else {
            return false;
        }
        self.retell(id);
        true
    }

    /// What was found in a file that is shown as raw because all that are built on it say so.
    pub(in crate::forest) fn overruled(&self, id: NodeId) -> Option<&Content> {
        self.growth.overruled.get(&id).map(|(content, _)| content)
    }
}
