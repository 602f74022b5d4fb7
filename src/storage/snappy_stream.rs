//! The container that snappy-java puts around snappy blocks: a 16-byte header, then chunks of `int length ‖ raw block`.
//! It differs from the framing format of snappy itself, which the `snap` crate knows.

use std::io::{self, Read, Write};

/// Magic, version 1, compatible from version 1.
pub const HEADER: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
/// The part of the header that Java tests a file by.
pub const MAGIC_BYTES: usize = 8;
/// Uncompressed bytes of a block that we write, as snappy-java does.
const BLOCK_BYTES: usize = 32 << 10;
/// Uncompressed bytes of a block that we read: a wrong length must not allocate without bound.
const BLOCK_BYTES_MAX: usize = 64 << 20;

pub struct SnappyReader<R> {
    source: R,
    compressed: Vec<u8>,
    plain: Vec<u8>,
    at: usize,
}

impl<R: Read> SnappyReader<R> {
    /// Reads the header.
    pub fn new(mut source: R) -> io::Result<SnappyReader<R>> {
        let mut header = [0; HEADER.len()];
        source.read_exact(&mut header)?;
        if header[..MAGIC_BYTES] != HEADER[..MAGIC_BYTES] {
            return Err(invalid("no snappy-java header"));
        }
        Ok(SnappyReader { source, compressed: Vec::new(), plain: Vec::new(), at: 0 })
    }

    /// False at the end of the stream.
    fn next_block(&mut self) -> io::Result<bool> {
        let mut length = [0; 4];
        if !read_exact_or_end(&mut self.source, &mut length)? {
            return Ok(false);
        }
        let length = u32::from_be_bytes(length) as usize;
        if length > snap::raw::max_compress_len(BLOCK_BYTES_MAX) {
            return Err(invalid("a snappy block is too long"));
        }
        self.compressed.clear();
        let copied = (&mut self.source).take(length as u64).read_to_end(&mut self.compressed)?;
        if copied < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let plain_bytes = snap::raw::decompress_len(&self.compressed).map_err(invalid)?;
        if plain_bytes > BLOCK_BYTES_MAX {
            return Err(invalid("a snappy block is too long"));
        }
        self.plain.resize(plain_bytes, 0);
        self.at = 0;
        snap::raw::Decoder::new().decompress(&self.compressed, &mut self.plain).map_err(invalid)?;
        Ok(true)
    }
}

impl<R: Read> Read for SnappyReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.plain.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let count = out.len().min(self.plain.len() - self.at);
        out[..count].copy_from_slice(&self.plain[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

pub struct SnappyWriter<W> {
    target: W,
    block: Vec<u8>,
    compressed: Vec<u8>,
}

impl<W: Write> SnappyWriter<W> {
    /// Writes the header.
    pub fn new(mut target: W) -> io::Result<SnappyWriter<W>> {
        target.write_all(&HEADER)?;
        Ok(SnappyWriter {
            target,
            block: Vec::with_capacity(BLOCK_BYTES),
            compressed: vec![0; snap::raw::max_compress_len(BLOCK_BYTES)],
        })
    }

    /// Writes what is left and hands back the target.
    pub fn finish(mut self) -> io::Result<W> {
        self.write_block()?;
        Ok(self.target)
    }

    fn write_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let count = snap::raw::Encoder::new().compress(&self.block, &mut self.compressed).map_err(invalid)?;
        self.target.write_all(&(count as u32).to_be_bytes())?;
        self.target.write_all(&self.compressed[..count])?;
        self.block.clear();
        Ok(())
    }
}

impl<W: Write> Write for SnappyWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(BLOCK_BYTES - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        if self.block.len() == BLOCK_BYTES {
            self.write_block()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.target.flush()
    }
}

fn invalid(reason: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_string())
}

/// False when the stream is at its end; an end in the middle is an error.
fn read_exact_or_end(source: &mut impl Read, out: &mut [u8]) -> io::Result<bool> {
    let mut have = 0;
    while have < out.len() {
        match source.read(&mut out[have..]) {
            Ok(0) if have == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(more) => have += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn streams_read_back_equal(bytes in proptest::collection::vec(any::<u8>(), 0..100_000)) {
            let mut writer = SnappyWriter::new(Vec::new()).unwrap();
            writer.write_all(&bytes).unwrap();
            let stored = writer.finish().unwrap();
            let mut back = Vec::new();
            SnappyReader::new(&stored[..]).unwrap().read_to_end(&mut back).unwrap();
            prop_assert_eq!(back, bytes);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let stored = [&HEADER[..], &bytes].concat();
            let _ = SnappyReader::new(&stored[..]).unwrap().read_to_end(&mut Vec::new());
        }
    }
}
