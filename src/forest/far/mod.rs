//! Images of other machines in the forest of this one. A scan that runs there tells what it met line by line; here
//! every line is checked, and what it tells of gets a number for the machine into its identity and the machine's
//! name before its paths: `web:/srv/a.qcow2`. Such a path is never absolute, and those of this machine are, so that
//! neither is ever taken for the other.
//!
//! | file | what lives there |
//! |---|---|
//! | `name` | paths of other machines |
//! | `lines` | what is said as the lines that it holds |
//! | `sent` | what travels |
//! | `gather` | one forest of what several machines tell |
//! | `taken` | what is believed of it |

mod gather;
mod lines;
mod name;
mod sent;
mod taken;

use super::{Forest, Location, Node};

pub use gather::Told;
pub use lines::{Lines, Nonsense};
pub use name::{host_and_path, path_on};
pub use sent::{MOST_LINE, Name, lines};
pub use taken::{Intake, believed_path, believed_sentence};

impl Forest {
    /// Whether an image is of another machine.
    #[must_use]
    pub fn is_far(&self, node: &Node) -> bool {
        let machine = |node: &Node| Some(node.file_id()?.machine() != 0);
        // What is not there is on the machine of those that name it.
        let mut children = node.children.iter().filter_map(|id| self.get(*id));
        machine(node)
            .or_else(|| children.find_map(machine))
            .unwrap_or_else(|| {
                node.location != Location::Elsewhere && host_and_path(&node.path).is_some()
            })
    }

    /// The name of the other machine that an image is of; none for one of this machine.
    #[must_use]
    pub fn host_of<'a>(&self, node: &'a Node) -> Option<&'a str> {
        let (host, _) = host_and_path(&node.path)?;
        self.is_far(node).then_some(host)
    }

    /// Whether any image is of another machine.
    #[must_use]
    pub fn has_far(&self) -> bool {
        self.nodes().any(|node| self.is_far(node))
    }

    /// The images of this machine alone, by the numbers that they have: what anything that opens files is given.
    #[must_use]
    pub fn here(&self) -> Self {
        let mut here = self.clone();
        here.forget(Self::is_far);
        here.forget_others();
        here
    }
}
