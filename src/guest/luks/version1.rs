//! The header of version 1: that of an encrypted qcow2 image.

use qanopy_core::image::LuksHeader;
use qanopy_core::qcow2::luks::HEADER_LEN;
use sha2::{Digest as _, Sha256};

use crate::block::BlockSource;
use crate::error::Result;

use super::error::of_format;
use super::header::{Content, Derivation, Digest, Header, Pbkdf2, Slot};

pub(super) fn read(volume: &dyn BlockSource) -> Result<Header> {
    let mut bytes = vec![0; HEADER_LEN];
    volume.read_at(0, &mut bytes)?;
    let luks = LuksHeader::parse(&bytes).map_err(|error| of_format(&error))?;
    let suite = luks.suite().map_err(|error| of_format(&error))?;
    let pbkdf2 = |iterations, salt: &[u8]| Pbkdf2 {
        hash: suite.hash,
        iterations,
        salt: salt.to_vec(),
    };
    let digest = Digest {
        by: pbkdf2(luks.digest_iterations, &luks.digest_salt),
        value: luks.digest.to_vec(),
    };
    let active = luks.slots.iter().filter(|slot| slot.active);
    let slots = active.map(|slot| Slot {
        derivation: Derivation::Pbkdf2(pbkdf2(slot.iterations, &slot.salt)),
        at: slot.key_offset,
        suite,
        key_bytes: luks.key_bytes,
        digest: digest.clone(),
    });
    Ok(Header {
        kind: "LUKS1",
        id: Sha256::digest(&bytes).into(),
        slots: slots.collect(),
        content: Content {
            at: luks.payload_offset,
            len: None,
            first: 0,
            suite,
            sector: 512,
        },
    })
}
