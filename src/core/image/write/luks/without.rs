//! What stands for new LUKS volumes where no ciphers are compiled in.

use std::path::Path;

use crate::image::error::Result;
use crate::image::read::luks::SectorCipher;
use crate::image::write::luks::NewEncryption;
use crate::image::{Encryption, Error, ErrorKind, ProgressSink};

/// A volume of which there is none.
#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) bytes: Vec<u8>,
    pub(crate) cipher: SectorCipher,
}

/// Refuses: no encrypted image is made in this build.
pub(crate) fn format(
    path: &Path,
    _new: &NewEncryption,
    _progress: &dyn ProgressSink,
) -> Result<Volume> {
    Err(Error::new(path, ErrorKind::Encrypted(Encryption::Luks)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::RealHost;
    use crate::image::{CreateOptions, ImageFile, NoProgress, Passphrase, closed, create};
    use crate::qcow2::CryptMethod;

    #[test]
    fn an_encrypted_image_is_neither_made_nor_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new.qcow2");
        let mut options = CreateOptions::new(1 << 20);
        create(&RealHost, &path, &options, &NoProgress).unwrap();
        let file = ImageFile::open(&RealHost, &path, crate::host::Access::Read).unwrap();
        let mut header = crate::image::read_header(&file).unwrap();
        assert!(closed(&header).is_none());
        header.crypt = CryptMethod::Luks;
        assert!(closed(&header).is_some());

        std::fs::remove_file(&path).unwrap();
        options.encryption = Some(NewEncryption {
            passphrase: Passphrase::new(b"x".to_vec()),
            iter_time_ms: 1,
        });
        let error = create(&RealHost, &path, &options, &NoProgress).unwrap_err();
        assert_eq!(error.kind.kind_name(), "unsupported-encryption");
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
    }
}
