//! Where the agent listens: at its socket in the state folder, or, where nothing can be made in there,
//! under a name of the kernel's (unix(7), abstract sockets).

use rustix::net::sockopt::socket_peercred;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The socket in the state folder.
pub(super) const NAME: &str = "agent.sock";

/// The door of a state folder.
pub(super) struct Door {
    folder: File,
    /// It is the kernel's name that is listened at. Anybody can go there, so it is asked who comes.
    by_name: bool,
}

impl Door {
    pub(super) fn of(state_dir: &Path) -> io::Result<Door> {
        Ok(Door { folder: File::open(state_dir)?, by_name: false })
    }

    /// Listens for who asks.
    pub(super) fn open(&mut self) -> io::Result<UnixListener> {
        let path = self.path();
        let made = match fs::remove_file(&path) {
            // What an earlier agent left; this one holds the folder's lock.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => UnixListener::bind(path),
        };
        match made {
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                self.by_name = true;
                UnixListener::bind_addr(&self.address()?)
            }
            made => made,
        }
    }

    /// Goes to whoever listens.
    pub(super) fn enter(&self) -> io::Result<UnixStream> {
        match UnixStream::connect(self.path()) {
            Ok(agent) => Ok(agent),
            Err(error) => {
                let agent = UnixStream::connect_addr(&self.address()?).map_err(|_| error)?;
                // Anybody can listen there.
                self.check(user(&agent)?)?;
                Ok(agent)
            }
        }
    }

    /// Lets in who may open the folder: the file's way is the system's to guard. Gives his number.
    pub(super) fn admit(&self, visitor: &impl AsFd) -> io::Result<u32> {
        let user = user(visitor)?;
        if self.by_name {
            self.check(user)?;
        }
        Ok(user)
    }

    /// Finds that it is the one whose folder it is, or may do everything.
    fn check(&self, user: u32) -> io::Result<()> {
        match user == 0 || user == self.folder.metadata()?.uid() {
            true => Ok(()),
            false => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    /// A short name for a socket whose own may be too long: the kernel takes 107 bytes (unix(7)).
    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{NAME}", self.folder.as_raw_fd()))
    }

    /// The same for every way in which the folder can be named.
    fn address(&self) -> io::Result<SocketAddr> {
        let folder = self.folder.metadata()?;
        SocketAddr::from_abstract_name(format!("lineside-agent/{}/{}", folder.dev(), folder.ino()))
    }
}

fn user(other: &impl AsFd) -> io::Result<u32> {
    Ok(socket_peercred(other)?.uid.as_raw())
}
