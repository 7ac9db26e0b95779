//! `qanopy schema`: the JSON Schema of the documents that `--json` prints.

use anyhow::Context as _;

use super::options::Globals;
use super::output::Out;

/// JSON Schema, draft 2020-12.
const TEXT: &str = include_str!("../../assets/docs/schema-1.json");

/// Prints it.
pub(super) fn run(out: &mut Out, globals: Globals) -> anyhow::Result<()> {
    if globals.json {
        let schema = serde_json::from_str(TEXT).context("the schema cannot be read")?;
        return Ok(out.json(schema)?);
    }
    Ok(out.text(TEXT)?)
}
