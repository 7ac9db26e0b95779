//! The LUKS header of an image: where it is, and what it says.

use crate::image::error::Result;
use crate::image::{Error, ImageFile};
use crate::qcow2::extension::CryptoHeader;
use crate::qcow2::luks::HEADER_LEN;
use crate::qcow2::{CryptMethod, FormatError, Header, LuksHeader};

/// The LUKS header of an image that has one: which ciphers it uses, its key slots.
///
/// # Errors
/// When it is missing, cannot be read, or breaks the format's rules.
pub fn luks_header(file: &ImageFile, header: &Header) -> Result<Option<LuksHeader>> {
    if header.crypt != CryptMethod::Luks {
        return Ok(None);
    }
    read(file, header).map(|(_, luks)| Some(luks))
}

/// The place of the LUKS header, and the header.
pub(crate) fn read(file: &ImageFile, header: &Header) -> Result<(CryptoHeader, LuksHeader)> {
    let bad = |field: &str, reason: &str| {
        let (field, reason) = (field.to_owned(), reason.to_owned());
        Error::new(file, FormatError::BadLuks { field, reason })
    };
    let Some(place) = header.crypto_header() else {
        return Err(bad("the place of the header", "is not recorded"));
    };
    if place.length < HEADER_LEN as u64 {
        return Err(bad("the room for the header", "is too small"));
    }
    let mut bytes = vec![0; HEADER_LEN];
    file.read_padded(&mut bytes, place.offset.get(), "read the LUKS header")?;
    let luks = LuksHeader::parse(&bytes).map_err(|e| Error::new(file, e))?;
    for (index, slot) in luks.slots.iter().enumerate() {
        let end = slot.key_offset.saturating_add(luks.material_len() as u64);
        if slot.active && end > place.length {
            let field = format!("the key material of key slot {index}");
            return Err(bad(&field, "reaches past the room for the header"));
        }
    }
    Ok((place, luks))
}
