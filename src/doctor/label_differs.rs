//! SELinux labels that differ within a chain.

use crate::forest::{Location, Node};
use crate::host::{printable, selinux_type, shell_quoted};

use super::finder::{Finder, Found, Subject};
use super::finding::Sure;

/// Types that machines may read bases with: libvirt gives the leaf one of its own, and the layers below another.
const OF_IMAGES: [&str; 4] = [
    "virt_image_t",
    "svirt_image_t",
    "virt_content_t",
    "container_file_t",
];

pub(super) const FINDER: Finder = Finder {
    name: "label-differs",
    why: "With SELinux a machine may read only files of certain labels, whatever owner and mode allow. A file that was \
          moved here keeps the label of where it came from: the machine then does not start, although all files are \
          there.",
    look,
};

fn look(subject: &Subject<'_>) -> Vec<Found> {
    let forest = &subject.context.forest;
    let is_there = |node: &&Node| node.location == Location::Scanned;
    let layers = subject.images().filter(is_there);
    let differing = layers.filter_map(|node| {
        let base = forest.get(node.parent?).filter(is_there)?;
        let own = selinux_type(&node.path).ok()??;
        let below = selinux_type(&base.path).ok()??;
        let of_images = |label: &str| OF_IMAGES.contains(&label);
        if own == below || of_images(&own) && of_images(&below) {
            return None;
        }
        // What no machine may read is the one to be changed.
        let (wrong, label, right) = match of_images(&own) {
            true => (base, &below, node),
            false => (node, &own, base),
        };
        let text = format!(
            "{} has the SELinux type {}, and {} another. `chcon --reference={} {}` gives it the same.",
            printable(&wrong.path),
            printable(label.as_str()),
            printable(&right.path),
            shell_quoted(&right.path),
            shell_quoted(&wrong.path)
        );
        Some(Found::of(wrong, text).but(Sure::Likely))
    });
    differing.collect()
}
