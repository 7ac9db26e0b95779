//! `qanopy relink`: records anew what an image is built on, or in which format.

use std::path::Path;

use crate::image::Format;
use crate::ops::{BackingStyle, Relink, Request, Unlink};

use super::args::{Globals, RelinkArgs};
use super::context;
use super::execute::execute;
use super::exit::Stop;
use super::output::Out;

/// Relinks the image.
pub(super) fn run(out: &mut Out, globals: Globals, args: RelinkArgs) -> anyhow::Result<()> {
    let mut named = vec![args.image.clone()];
    named.extend(args.to.clone());
    if args.to.as_deref() == Some(Path::new("none")) {
        if args.format.is_some() || args.relative || args.absolute {
            let text = "nothing has no format and no name: --to none stands alone".to_owned();
            return Err(Stop::Usage(text).into());
        }
        named.truncate(1);
        let context = context::around(&named, &args.scan.scan)?;
        let request = Request::Unlink(Unlink { image: args.image });
        return execute(out, globals, args.consent, &context, &request);
    }
    let context = context::around(&named, &args.scan.scan)?;
    let request = Request::Relink(Relink {
        image: args.image,
        base: args.to,
        format: args.format.as_deref().map(Format::from_name),
        style: match (args.relative, args.absolute) {
            (true, _) => Some(BackingStyle::Relative),
            (_, true) => Some(BackingStyle::Absolute),
            _ => None,
        },
    });
    execute(out, globals, args.consent, &context, &request)
}
