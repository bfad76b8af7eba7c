//! A connection that is plain or under TLS, without waiting: what is read and written are octets of HTTP either way.

use std::{
    io::{self, IoSlice, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection,
    pki_types::ServerName,
};

/// Whom a client of ours believes, and what it calls the other end.
#[derive(Clone, Debug)]
pub struct Believed {
    pub config: Arc<ClientConfig>,
    pub name: ServerName<'static>,
}

/// A connection whose socket does not wait.
pub struct Channel {
    socket: TcpStream,
    tls: Option<Box<Connection>>,
}

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(2);

/// What is read at once under TLS at most becomes less than this when it is decrypted.
const RECORDS: usize = 64 << 10;

impl Channel {
    /// Connects, and makes sure under TLS that the other end is who it has to be.
    pub fn connect(addr: &SocketAddr, believed: Option<&Believed>) -> io::Result<Channel> {
        let mut socket = TcpStream::connect_timeout(addr, Duration::from_secs(1))?;
        socket.set_nodelay(true)?;
        let tls = match believed {
            None => None,
            Some(Believed { config, name }) => {
                let client = ClientConnection::new(config.clone(), name.clone());
                let mut tls = Connection::Client(client.map_err(io::Error::other)?);
                socket.set_read_timeout(Some(HANDSHAKE))?;
                socket.set_write_timeout(Some(HANDSHAKE))?;
                while tls.is_handshaking() {
                    tls.complete_io(&mut socket).map_err(|error| {
                        io::Error::other(format!(
                            "TLS: {error}; expected a certificate for {} of the authority that --authority names",
                            name.to_str()
                        ))
                    })?;
                }
                socket.set_read_timeout(None)?;
                socket.set_write_timeout(None)?;
                Some(Box::new(tls))
            }
        };
        socket.set_nonblocking(true)?;
        Ok(Channel { socket, tls })
    }

    /// One that was accepted.
    pub fn accepted(socket: TcpStream, config: Option<&Arc<ServerConfig>>) -> io::Result<Channel> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let tls = match config {
            None => None,
            Some(config) => {
                let server = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
                Some(Box::new(Connection::Server(server)))
            }
        };
        Ok(Channel { socket, tls })
    }

    /// Reads what is there; 0 at the end. Nothing that can be read stays behind, unless the socket has more: then it
    /// is ready again. `buffer` is longer than some records.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.socket.read(buffer);
        };
        let mut filled = 0;
        loop {
            match tls.reader().read(&mut buffer[filled..]) {
                Ok(0) => return Ok(filled),
                Ok(length) => {
                    filled += length;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // An end without a farewell is an end.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(filled),
                Err(error) => return Err(error),
            }
            if buffer.len() - filled < RECORDS {
                return Ok(filled);
            }
            match tls.read_tls(&mut self.socket) {
                // Whether that is the end the reader says.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && filled > 0 => {
                    return Ok(filled);
                }
                Err(error) => return Err(error),
            }
            if let Err(error) = tls.process_new_packets() {
                // The other end is told why.
                let _ = tls.write_tls(&mut self.socket);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    }

    /// Writes what is taken of these octets.
    pub fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(octets)])
    }

    /// Writes what is taken of the first of these, and of those behind it.
    pub fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.socket.write_vectored(slices);
        };
        let mut written = 0;
        for slice in slices {
            let length = tls.writer().write(slice)?;
            written += length;
            if length < slice.len() {
                break;
            }
        }
        match self.flush()? {
            false if written == 0 => Err(io::ErrorKind::WouldBlock.into()),
            // The buffer of records was full, and is empty now.
            true if written == 0 && slices.iter().any(|slice| !slice.is_empty()) => {
                Err(io::ErrorKind::Interrupted.into())
            }
            _ => Ok(written),
        }
    }

    /// Sends what waits within; whether nothing does any more.
    pub fn flush(&mut self) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else {
            return Ok(true);
        };
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if let Some(tls) = &mut self.tls {
            // As far as the socket takes it.
            tls.send_close_notify();
            let _ = tls.write_tls(&mut self.socket);
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
