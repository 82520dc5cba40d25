//! Covering and sealing by descriptor: nobody can exchange a name between looking at it and mounting on it.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use super::raw::{attach_on, copy_of, make_read_only, object};

/// Covers that wait to be used, in a mount that no path leads to.
#[derive(Debug)]
pub(crate) struct Stock {
    file: OwnedFd,
    folder: OwnedFd,
    device: u64,
}

impl Stock {
    pub(super) fn of(file: &Path, folder: &Path) -> io::Result<Self> {
        let file = Object::at(file)?;
        Ok(Self {
            device: file.device,
            file: file.fd,
            folder: object(folder)?,
        })
    }

    /// The descriptors that a process needs to use it.
    pub(crate) fn descriptors(&self) -> [i32; 2] {
        [self.file.as_raw_fd(), self.folder.as_raw_fd()]
    }
}

/// Something that has a path: a file, a folder, a socket, a link.
#[derive(Debug)]
pub(crate) struct Object {
    fd: OwnedFd,
    device: u64,
    pub(crate) is_folder: bool,
    pub(crate) is_socket: bool,
    pub(crate) is_link: bool,
}

impl Object {
    /// What lies at `path`. A symbolic link at its end is given itself, one before that is an error.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let file = File::from(object(path)?);
        let meta = file.metadata()?;
        let kind = meta.file_type();
        Ok(Self {
            fd: file.into(),
            device: meta.dev(),
            is_folder: kind.is_dir(),
            is_socket: kind.is_socket(),
            is_link: kind.is_symlink(),
        })
    }

    /// Covers it; `false` if it is a cover already.
    pub(crate) fn cover(&self, stock: &Stock) -> io::Result<bool> {
        if self.device == stock.device {
            return Ok(false);
        }
        let cover = if self.is_folder {
            &stock.folder
        } else {
            &stock.file
        };
        attach_on(&copy_of(cover)?, &self.fd)?;
        Ok(true)
    }

    /// Mounts it over itself, read-only or only so that it keeps its place; `false` if that is so already. It is its own source:
    /// nothing else can come into sight by this.
    pub(crate) fn over_itself(&self, read_only: bool) -> io::Result<bool> {
        if self.is_mount(read_only)? {
            return Ok(false);
        }
        let tree = copy_of(&self.fd)?;
        if read_only {
            make_read_only(&tree)?;
        }
        attach_on(&tree, &self.fd)?;
        Ok(true)
    }

    fn is_mount(&self, read_only: bool) -> io::Result<bool> {
        let flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;
        // SAFETY: a record of numbers, for which zero is a value.
        let mut status: libc::statx = unsafe { std::mem::zeroed() };
        // SAFETY: the path is empty and ends in a zero byte; the record lives during the call, and the kernel fills it.
        let result = unsafe { libc::statx(self.fd.as_raw_fd(), c"".as_ptr(), flags, 0, &raw mut status) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        let root = status.stx_attributes & libc::STATX_ATTR_MOUNT_ROOT as u64 != 0;
        if !root || !read_only {
            return Ok(root);
        }
        let flags = nix::sys::statvfs::fstatvfs(&self.fd)?.flags();
        Ok(flags.contains(nix::sys::statvfs::FsFlags::ST_RDONLY))
    }
}
