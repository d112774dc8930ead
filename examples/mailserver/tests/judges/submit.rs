//! Clients that submit mail: msmtp, Python's aiosmtplib, Node's Nodemailer.

use std::process::Command;

use crate::server::{Server, finish, judge};
use crate::{clients, imap_login, mail};

/// The messages in bob's inbox, oldest first.
fn arrived(server: &Server) -> Vec<String> {
    let mut imap = imap_login(server, "bob");
    let lines = imap.ask("s SELECT INBOX", "s OK");
    let exists = lines.iter().find_map(|line| line.strip_prefix("* ")?.strip_suffix(" EXISTS")).expect("a count");
    let count: usize = exists.parse().expect("a number");
    (1..=count)
        .map(|at| {
            let lines = imap.ask(&format!("f FETCH {at} BODY.PEEK[]"), "f OK");
            lines[1..lines.len() - 2].iter().map(|line| format!("{line}\r\n")).collect()
        })
        .collect()
}

#[test]
#[ignore = "needs msmtp"]
fn msmtp_submits_with_each_login_over_each_tls() {
    let server = Server::start("");
    let message = mail::message("msmtp", 20_000);
    let msmtp = |service: &str, starttls: &str, login: &str, password: &str| {
        let mut msmtp = Command::new("msmtp");
        msmtp.args(["--host=localhost", "--from=ann@example.org", "--user=ann@example.org", "--tls=on"]);
        msmtp.arg(format!("--port={}", server.port(service))).arg(format!("--tls-starttls={starttls}"));
        msmtp.arg(format!("--tls-trust-file={}", server.certificate().display()));
        msmtp.arg(format!("--auth={login}")).arg(format!("--passwordeval=echo {password}"));
        msmtp.args(["--file=/dev/null", "--domain=client.example.net", "bob@example.org"]);
        finish(&mut msmtp, &message.replace("\r\n", "\n"))
    };
    let mut sent = 0;
    for (service, starttls) in [("submission", "on"), ("submissions", "off")] {
        for login in ["plain", "login", "scram-sha-256", "on"] {
            let output = msmtp(service, starttls, login, "secret of ann");
            assert!(output.status.success(), "{login}: {}", String::from_utf8_lossy(&output.stderr));
            sent += 1;
        }
    }
    let arrived = arrived(&server);
    assert_eq!(arrived.len(), sent);
    // msmtp writes its own From only where there is none; everything else goes as it is.
    arrived.iter().for_each(|received| mail::assert_delivered(received, &message));
    let output = msmtp("submissions", "off", "plain", "wrong");
    assert_eq!(output.status.code(), Some(77), "EX_NOPERM: {}", String::from_utf8_lossy(&output.stderr));
}

const AIOSMTPLIB: &str = r#"
import asyncio, ssl, sys
import aiosmtplib
certificate, submission, submissions = sys.argv[1:4]
message = open(sys.argv[4], "rb").read()
context = ssl.create_default_context(cafile=certificate)
who = ("ann@example.org", "secret of ann")

async def client(port, **tls):
    smtp = aiosmtplib.SMTP(hostname="localhost", port=int(port), tls_context=context, **tls)
    await smtp.connect()
    return smtp

async def main():
    # Many at the same time, some over STARTTLS, some over TLS from the first octet.
    async def send(at):
        tls = dict(start_tls=True) if at % 2 else dict(use_tls=True)
        smtp = await client(submission if at % 2 else submissions, **tls)
        await smtp.login(*who)
        errors, text = await smtp.sendmail("ann@example.org", ["bob@example.org"], message)
        assert not errors and "queued as" in text, (errors, text)
        await smtp.quit()
    await asyncio.gather(*(send(at) for at in range(10)))

    smtp = await client(submissions, use_tls=True)
    await smtp.ehlo()
    for extension in ("size", "8bitmime", "pipelining", "chunking", "dsn", "enhancedstatuscodes", "smtputf8", "binarymime",
                      "deliverby", "mt-priority", "futurerelease", "no-soliciting", "limits"):
        assert smtp.supports_extension(extension), extension
    try:
        await smtp.sendmail("ann@example.org", ["bob@example.org"], message)
        raise SystemExit("sent without a login")
    except aiosmtplib.SMTPException:
        pass
    try:
        await smtp.login("ann@example.org", "wrong")
        raise SystemExit("wrong password taken")
    except aiosmtplib.SMTPAuthenticationError as error:
        assert error.code == 535, error
    await smtp.login(*who)
    # One of the recipients is refused, the others get it; and nobody may send as somebody else.
    errors, text = await smtp.sendmail("ann@example.org", ["nobody@example.org", "bob@example.org"], message)
    assert list(errors) == ["nobody@example.org"] and errors["nobody@example.org"].code == 550, errors
    try:
        await smtp.sendmail("bob@example.org", ["bob@example.org"], message)
        raise SystemExit("sent as somebody else")
    except aiosmtplib.SMTPSenderRefused as error:
        assert error.code in (550, 553), error
    assert (await smtp.vrfy("bob@example.org")).code in (250, 252)
    assert (await smtp.noop()).code == 250
    await smtp.quit()

asyncio.run(main())
"#;

#[test]
#[ignore = "needs aiosmtplib"]
fn aiosmtplib_submits_many_at_once() {
    let server = Server::start("");
    let message = mail::message("aiosmtplib", 30_000);
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", clients().join("python")).args(["-c", AIOSMTPLIB]).arg(server.certificate());
    python.args([server.port("submission"), server.port("submissions")]).arg(server.file("sent.eml", &message));
    judge(&mut python);
    let arrived = arrived(&server);
    assert_eq!(arrived.len(), 11);
    arrived.iter().for_each(|received| mail::assert_delivered(received, &message));
}

const NODEMAILER: &str = r#"
const assert = require('assert');
const fs = require('fs');
const nodemailer = require('nodemailer');
const [submission, submissions, certificate] = process.argv.slice(1);
const tls = { ca: fs.readFileSync(certificate) };
const auth = { user: 'ann@example.org', pass: 'secret of ann' };
const transport = more => nodemailer.createTransport({ host: 'localhost', auth, tls, ...more });
const mail = { from: 'Ann <ann@example.org>', to: 'bob@example.org' };
(async () => {
    const starttls = transport({ port: submission, secure: false, requireTLS: true });
    assert(await starttls.verify());
    const html = '<p>gr\u00fc\u00dfe</p>\n.\n..\n';
    const attachments = [{ filename: 'n\u00e4me.bin', content: Buffer.alloc(100000, 'a\u0000b') }];
    const dsn = { id: 'some id', return: 'headers', notify: ['failure', 'delay'], recipient: 'bob@example.org' };
    let sent = await starttls.sendMail({ ...mail, subject: 'gr\u00fc\u00dfe', text: '.\n', html, attachments, dsn });
    assert.deepEqual(sent.accepted, ['bob@example.org']);
    // A pool: many messages over few connections.
    const pool = transport({ port: submissions, secure: true, pool: true, maxConnections: 2 });
    const texts = [...Array(20).keys()].map(n => ({ ...mail, subject: `pooled ${n}`, text: `${n}\n` }));
    await Promise.all(texts.map(text => pool.sendMail(text)));
    pool.close();
    const more = transport({ port: submissions, secure: true });
    sent = await more.sendMail({ ...mail, to: ['nobody@example.org', 'bob@example.org'], subject: 'partly', text: 'x' });
    assert.deepEqual(sent.rejected, ['nobody@example.org']);
    await assert.rejects(more.sendMail({ ...mail, from: 'bob@example.org', text: 'x' }), { responseCode: 550 });
    await assert.rejects(transport({ port: submissions, secure: true, auth: { ...auth, pass: 'x' } }).verify(), { responseCode: 535 });
})().catch(error => { console.error(error); process.exit(1); });
"#;

#[test]
#[ignore = "needs Nodemailer"]
fn nodemailer_submits_over_a_pool() {
    let server = Server::start("");
    let mut node = Command::new("node");
    node.env("NODE_PATH", clients().join("node/node_modules")).args(["-e", NODEMAILER, "--"]);
    node.args([server.port("submission"), server.port("submissions")]).arg(server.certificate());
    judge(&mut node);
    let arrived = arrived(&server);
    assert_eq!(arrived.len(), 22);
    assert!(arrived[0].contains("Subject: =?UTF-8?"), "{}", arrived[0]);
}
