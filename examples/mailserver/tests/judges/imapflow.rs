//! Node's ImapFlow, which uses every extension it is offered.

use std::process::Command;

use crate::server::{Server, judge};
use crate::{clients, odd_messages};

const SCRIPT: &str = r#"
const assert = require('assert');
const fs = require('fs');
const { ImapFlow } = require('imapflow');
const [port, ...files] = process.argv.slice(1);
const client = () => {
    const auth = { user: 'ann@example.org', pass: 'secret of ann' };
    const imap = new ImapFlow({ host: 'localhost', port, secure: true, auth, logger: false });
    imap.on('error', error => { console.error(error); process.exit(1); });
    return imap;
};
(async () => {
    const imap = client();
    await imap.connect();
    const folders = await imap.list({ statusQuery: { messages: true, unseen: true } });
    assert.deepEqual(folders.find(folder => folder.path === 'INBOX').status.messages, 0);
    assert(folders.some(folder => folder.specialUse === '\\Sent'));
    const name = 'Entw\u00fcrfe/\u00e4 & b';
    await imap.mailboxCreate(['Entw\u00fcrfe', '\u00e4 & b']);
    const sent = files.map(file => fs.readFileSync(file));
    for (const octets of sent) {
        const done = await imap.append(name, octets, ['\\Flagged', 'work'], new Date('2024-02-01T12:00:00Z'));
        assert(done.uid > 0 && done.uidValidity > 0n);
    }
    let lock = await imap.getMailboxLock(name);
    assert.equal(imap.mailbox.exists, sent.length);
    let at = 0;
    const query = { uid: true, flags: true, envelope: true, bodyStructure: true, internalDate: true, size: true,
        source: true, headers: ['subject'], bodyParts: ['1', 'text'] };
    for await (const row of imap.fetch('1:*', query)) {
        assert.deepEqual(row.source, sent[at]);
        assert.equal(row.size, sent[at].length);
        assert(row.flags.has('\\Flagged') && row.flags.has('work'));
        assert.equal(row.internalDate.toISOString(), '2024-02-01T12:00:00.000Z');
        if (files[at].includes('nested')) {
            const inner = row.bodyStructure.childNodes[0];
            assert.equal(inner.type, 'message/rfc822');
            assert.equal(inner.envelope.subject, 'inner');
        }
        if (files[at].includes('quotes')) {
            assert.equal(row.bodyStructure.parameters.name, 'abcd');
        }
        at += 1;
    }
    assert.equal(at, sent.length);
    assert.equal((await imap.search({ keyword: 'work', subject: '"b"' })).length, 1);
    assert.deepEqual(await imap.search({ subject: '\u00e4' }), []);
    await imap.messageFlagsAdd('1', ['\\Seen']);
    const copied = await imap.messageCopy('1:2', 'INBOX');
    assert.deepEqual([...copied.uidMap.keys()], [1, 2]);
    const moved = await imap.messageMove('1', 'Trash');
    assert.deepEqual([...moved.uidMap.keys()], [1]);
    assert.equal((await imap.status('INBOX', { messages: true, unseen: true })).unseen, 1);
    const { content } = await imap.download('1');
    let octets = 0;
    for await (const chunk of content) octets += chunk.length;
    assert(octets > 0);

    // The selected mailbox hears of what another connection does.
    const heard = new Promise(resolve => imap.on('exists', resolve));
    const other = client();
    await other.connect();
    await other.append(name, 'Subject: news\r\n\r\n');
    imap.idle().catch(() => {});
    assert.equal((await heard).count, sent.length);
    await other.logout();
    assert(await imap.messageDelete('1:*'));
    assert.equal(imap.mailbox.exists, 0);
    lock.release();
    await imap.mailboxDelete(name);
    await imap.logout();
})().catch(error => { console.error(error); process.exit(1); });
"#;

#[test]
#[ignore = "needs imapflow"]
fn imapflow_understands_every_answer() {
    let server = Server::start("");
    let mut node = Command::new("node");
    node.env("NODE_PATH", clients().join("node/node_modules")).env("NODE_EXTRA_CA_CERTS", server.certificate());
    node.args(["-e", SCRIPT, "--"]).arg(server.port("imaps"));
    for (name, message) in odd_messages() {
        node.arg(server.file(&format!("{name}.eml"), message));
    }
    judge(&mut node);
}
