//! The example server as a child process, on free ports, in a folder of its own.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tempfile::TempDir;

/// Nothing a test waits for takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running server. Dropping it ends the process.
pub(crate) struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) folder: TempDir,
    addresses: HashMap<String, SocketAddr>,
    /// Address and password of the account a first run makes.
    pub(crate) account: Option<(String, String)>,
}

/// The configuration every test starts from: each service on a free port, domain `example.org`.
pub(crate) const BASE: &str = r#"
hostname = "mail.example.org"
domains = ["example.org"]
data_dir = "data"
"#;

/// All services on free ports.
pub(crate) const LISTEN: &str = r#"
[listen]
smtp = "127.0.0.1:0"
submission = "127.0.0.1:0"
submissions = "127.0.0.1:0"
lmtp = "127.0.0.1:0"
pop3 = "127.0.0.1:0"
pop3s = "127.0.0.1:0"
imap = "127.0.0.1:0"
imaps = "127.0.0.1:0"
"#;

/// The mailserver binary under test.
pub(crate) fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mailserver"))
}

impl Server {
    /// A server with the accounts `ann` and `bob` of `example.org`, whose passwords are `secret of ann` and
    /// `secret of bob`, and these further lines of configuration.
    pub(crate) fn start(extra: &str) -> Server {
        Server::start_with("", extra)
    }

    /// The same with lines of configuration that belong to no table, too.
    pub(crate) fn start_with(top: &str, extra: &str) -> Server {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("mailserver.toml"), format!("{BASE}{top}{LISTEN}{extra}")).expect("config");
        for user in ["ann", "bob"] {
            add_user(folder.path(), user);
        }
        Server::run(folder)
    }

    /// Runs a server in a folder that has a configuration already.
    pub(crate) fn run(folder: TempDir) -> Server {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.path().join("log"));
        let mut child = binary()
            .current_dir(folder.path())
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.expect("a log file"))
            .spawn()
            .expect("the server starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut server = Server { child, stdout, folder, addresses: HashMap::new(), account: None };
        server.read_until_ready();
        server
    }

    fn read_until_ready(&mut self) {
        let mut line = String::new();
        loop {
            line.clear();
            if self.stdout.read_line(&mut line).expect("standard output") == 0 {
                panic!("the server ended before it was ready:\n{}", self.log());
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["ready"] => return,
                ["account", address, "password", password] => {
                    self.account = Some(((*address).to_owned(), (*password).to_owned()));
                }
                ["listening", service, address] => {
                    self.addresses.insert((*service).to_owned(), address.parse().expect("an address"));
                }
                _ => {}
            }
        }
    }

    /// Where a service listens.
    pub(crate) fn address(&self, service: &str) -> SocketAddr {
        *self.addresses.get(service).unwrap_or_else(|| panic!("{service} is not served"))
    }

    /// A service's port.
    pub(crate) fn port(&self, service: &str) -> String {
        self.address(service).port().to_string()
    }

    /// The generated certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        let folders = ["data", "mailserver-data"].map(|name| self.folder.path().join(name));
        folders.into_iter().find(|folder| folder.exists()).expect("a data folder").join("tls/cert.pem")
    }

    /// What the server logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A raw connection to a cleartext service, with the greeting still to be read.
    pub(crate) fn connect(&self, service: &str) -> Wire {
        Wire::new(patient(TcpStream::connect(self.address(service)).expect("a connection")))
    }

    /// The same to a service that begins with TLS.
    pub(crate) fn connect_tls(&self, service: &str) -> TlsWire {
        self.connect_tls_at(self.address(service).port())
    }

    /// The same to a port of somebody else's, who has our certificate.
    pub(crate) fn connect_tls_at(&self, port: u16) -> TlsWire {
        let stream = patient(TcpStream::connect(("127.0.0.1", port)).expect("a connection"));
        let client = ClientConnection::new(self.tls_client(), "localhost".try_into().expect("a name"));
        Lines::new(StreamOwned::new(client.expect("a client"), stream))
    }

    /// A TLS client that trusts the generated certificate and nothing else.
    pub(crate) fn tls_client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.certificate()).expect("a certificate")).expect("a trust anchor");
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions");
        Arc::new(config.with_root_certificates(roots).with_no_client_auth())
    }

    /// A file in the server's folder.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path
    }

    /// Runs an admin command of the same binary on the same data.
    pub(crate) fn admin(&self, arguments: &[&str], input: &str) -> Output {
        let command = &mut binary();
        finish(command.current_dir(self.folder.path()).args(arguments), input)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        // The shell's own: a fresh machine need not have the program.
        let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.pid())).status();
        assert!(status.expect("kill").success());
    }

    /// Waits for the process to end; its exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(start.elapsed() < PATIENCE, "the server does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the process and gives its folder, to run another in it.
    pub(crate) fn stop(mut self) -> TempDir {
        let _ = self.child.kill();
        let _ = self.child.wait();
        std::mem::replace(&mut self.folder, tempfile::tempdir().expect("a temporary folder"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Adds an account of `example.org` to the server in this folder.
pub(crate) fn add_user(folder: &Path, user: &str) {
    let address = format!("{user}@example.org");
    let mut command = binary();
    let command = command.current_dir(folder).args(["user", "add", &address, "--password-stdin"]);
    let output = finish(command, &format!("secret of {user}\n"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a program with this input to its end.
pub(crate) fn finish(command: &mut Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
    // A program that reads nothing closes its end early; that is its business.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("output")
}

/// Runs a foreign program that must succeed; gives its standard output.
pub(crate) fn judge(command: &mut Command) -> String {
    let output = finish(command, "");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// A raw connection, read line by line.
pub(crate) struct Lines<S: Read> {
    reader: BufReader<S>,
}

/// A raw connection in clear.
pub(crate) type Wire = Lines<TcpStream>;

/// A raw connection over TLS.
pub(crate) type TlsWire = Lines<StreamOwned<ClientConnection, TcpStream>>;

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

impl<S: Read + Write> Lines<S> {
    pub(crate) fn new(stream: S) -> Lines<S> {
        Lines { reader: BufReader::new(stream) }
    }

    /// Sends octets as they are.
    pub(crate) fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.reader.get_mut().write_all(octets.as_ref()).expect("a write");
    }

    /// The next line without its line end; `None` at the end of the stream.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        match self.reader.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) if is_end(&error) => None,
            Err(error) => panic!("reading: {error}"),
        }
    }

    /// Reads lines until one begins with `start`; all of them.
    pub(crate) fn until(&mut self, start: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().unwrap_or_else(|| panic!("ended before {start:?}; read {lines:#?}"));
            let found = line.starts_with(start);
            lines.push(line);
            if found {
                return lines;
            }
        }
    }

    /// Sends a line and reads until an answer line begins with `start`.
    pub(crate) fn ask(&mut self, line: &str, start: &str) -> Vec<String> {
        self.send(format!("{line}\r\n"));
        self.until(start)
    }

    /// Everything up to the end of the stream.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if is_end(&error) => {}
            Err(error) => panic!("reading: {error}"),
        }
        rest
    }

    pub(crate) fn stream(&mut self) -> &mut S {
        self.reader.get_mut()
    }
}

fn is_end(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::UnexpectedEof)
}
