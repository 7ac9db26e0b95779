//! `qanopy explain`: why a layer is as large as it is: what the bytes that it stores itself are used for in the guest.

use clap::Args;
use serde_json::json;

use crate::guest::{self, explain};
use crate::inside;
use crate::units;

use super::guest_image::GuestImageArgs;
use super::options::Globals;
use super::output::Out;

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    image: GuestImageArgs,
}

/// Prints what they are used for.
pub(super) fn run(out: &mut Out, globals: Globals, args: &ExplainArgs) -> anyhow::Result<()> {
    let view = args.image.view()?;
    let own = guest::stored(&view.chain)?;
    let sums = explain::explain(&view.disk, &own)?;
    let parts = inside::uses(&sums);
    if globals.json {
        let mut fields = serde_json::Map::new();
        fields.insert("stored".to_owned(), json!(own.bytes()));
        fields.extend(
            parts
                .iter()
                .map(|(key, _, bytes)| ((*key).to_owned(), json!(bytes))),
        );
        return Ok(out.json(fields.into())?);
    }
    out.line(format_args!(
        "{:>9} stored by this layer",
        units::size(own.bytes())
    ))?;
    for (_, words, bytes) in parts.iter().filter(|(_, _, bytes)| *bytes > 0) {
        out.line(format_args!("{:>9} {words}", units::size(*bytes)))?;
    }
    Ok(())
}
