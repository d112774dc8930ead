//! The four messages of SCRAM and their parts (RFC 5802 §5.1, §7).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::sasl::context::is_nonce;

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not of the grammar.
    Syntax,
    /// It demands an extension (`m=`), and none is known.
    Extension,
}

/// The channel binding flag of a GS2 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flag<'a> {
    /// `n`: the client cannot bind.
    Unsupported,
    /// `y`: the client can, and believes that the server cannot.
    Unused,
    /// `p=name`: the client binds to the channel in this way.
    Used(&'a str),
}

/// A GS2 header: channel binding flag and authorization identity (RFC 5801 §4).
#[derive(Debug)]
pub(crate) struct Gs2<'a> {
    /// The header as it was sent, both commas included.
    pub(crate) text: &'a str,
    pub(crate) flag: Flag<'a>,
    pub(crate) authzid: Option<String>,
}

impl<'a> Gs2<'a> {
    /// Reads the header and returns what follows it.
    pub(crate) fn parse(message: &'a str) -> Result<(Gs2<'a>, &'a str), Fault> {
        let (flag, rest) = message.split_once(',').ok_or(Fault::Syntax)?;
        let (authzid, bare) = rest.split_once(',').ok_or(Fault::Syntax)?;
        let flag = match flag {
            "n" => Flag::Unsupported,
            "y" => Flag::Unused,
            _ => {
                // RFC 5802 §7: a cb-name is letters, digits, "." and "-".
                let name = flag.strip_prefix("p=").ok_or(Fault::Syntax)?;
                let is_name = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-');
                if name.is_empty() || !name.bytes().all(is_name) {
                    return Err(Fault::Syntax);
                }
                Flag::Used(name)
            }
        };
        let authzid = match authzid {
            "" => None,
            _ => Some(parse_saslname(authzid.strip_prefix("a=").ok_or(Fault::Syntax)?)?),
        };
        let len = message.len() - bare.len();
        Ok((Gs2 { text: message.get(..len).ok_or(Fault::Syntax)?, flag, authzid }, bare))
    }
}

/// RFC 5802 §5.1: in a name `=2C` is a comma and `=3D` an equals sign; any other `=` is an error.
fn parse_saslname(text: &str) -> Result<String, Fault> {
    if text.is_empty() || text.contains('\0') {
        return Err(Fault::Syntax);
    }
    let mut parts = text.split('=');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (c, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(Fault::Syntax),
        };
        name.push(c);
        name.push_str(rest);
    }
    Ok(name)
}

/// Writes a name with commas and equals signs escaped.
pub(crate) fn push_saslname(text: &mut String, name: &str) {
    for c in name.chars() {
        match c {
            ',' => text.push_str("=2C"),
            '=' => text.push_str("=3D"),
            _ => text.push(c),
        }
    }
}

/// The client's first message.
#[derive(Debug)]
pub(crate) struct ClientFirst<'a> {
    pub(crate) gs2: Gs2<'a>,
    /// client-first-message-bare: what goes into the AuthMessage.
    pub(crate) bare: &'a str,
    /// The user name, unescaped but not prepared.
    pub(crate) user: String,
    pub(crate) nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    pub(crate) fn parse(octets: &'a [u8]) -> Result<ClientFirst<'a>, Fault> {
        let text = std::str::from_utf8(octets).map_err(|_| Fault::Syntax)?;
        let (gs2, bare) = Gs2::parse(text)?;
        let mut attributes = Attributes::new(bare);
        let user = parse_saslname(attributes.expect('n')?)?;
        let nonce = attributes.nonce()?;
        attributes.extensions()?;
        Ok(ClientFirst { gs2, bare, user, nonce })
    }
}

/// The server's first message.
#[derive(Debug)]
pub(crate) struct ServerFirst<'a> {
    pub(crate) nonce: &'a str,
    pub(crate) salt: Vec<u8>,
    pub(crate) iterations: u32,
}

impl<'a> ServerFirst<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<ServerFirst<'a>, Fault> {
        let mut attributes = Attributes::new(text);
        let nonce = attributes.nonce()?;
        let salt = decode(attributes.expect('s')?)?;
        let digits = attributes.expect('i')?;
        attributes.extensions()?;
        // RFC 5802 §7: posit-number begins with 1 to 9.
        if !digits.bytes().all(|octet| octet.is_ascii_digit()) || digits.starts_with('0') {
            return Err(Fault::Syntax);
        }
        let iterations = digits.parse().map_err(|_| Fault::Syntax)?;
        if salt.is_empty() {
            return Err(Fault::Syntax);
        }
        Ok(ServerFirst { nonce, salt, iterations })
    }
}

/// The client's final message.
#[derive(Debug)]
pub(crate) struct ClientFinal<'a> {
    /// Everything before `,p=`: what goes into the AuthMessage.
    pub(crate) without_proof: &'a str,
    /// The GS2 header and the binding's octets, decoded.
    pub(crate) cbind_input: Vec<u8>,
    pub(crate) nonce: &'a str,
    pub(crate) proof: Vec<u8>,
}

impl<'a> ClientFinal<'a> {
    pub(crate) fn parse(octets: &'a [u8]) -> Result<ClientFinal<'a>, Fault> {
        let text = std::str::from_utf8(octets).map_err(|_| Fault::Syntax)?;
        // The proof is the last attribute, and base64 has no comma.
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Fault::Syntax)?;
        let mut attributes = Attributes::new(without_proof);
        let cbind_input = decode(attributes.expect('c')?)?;
        let nonce = attributes.nonce()?;
        attributes.extensions()?;
        Ok(ClientFinal { without_proof, cbind_input, nonce, proof: decode(proof)? })
    }
}

/// The server's final message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ServerFinal<'a> {
    /// `v=`: the server's signature.
    Signature(Vec<u8>),
    /// `e=`: why it refused.
    Error(&'a str),
}

impl<'a> ServerFinal<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<ServerFinal<'a>, Fault> {
        let mut attributes = Attributes::new(text);
        let message = match attributes.any()? {
            ('v', signature) => ServerFinal::Signature(decode(signature)?),
            ('e', error) if !error.is_empty() => ServerFinal::Error(error),
            _ => return Err(Fault::Syntax),
        };
        attributes.extensions()?;
        Ok(message)
    }
}

fn decode(base64: &str) -> Result<Vec<u8>, Fault> {
    STANDARD.decode(base64).map_err(|_| Fault::Syntax)
}

/// A message as a row of `letter=value`, split at commas.
struct Attributes<'a>(Option<&'a str>);

impl<'a> Attributes<'a> {
    fn new(text: &'a str) -> Attributes<'a> {
        Attributes(Some(text))
    }

    fn any(&mut self) -> Result<(char, &'a str), Fault> {
        let text = self.0.take().ok_or(Fault::Syntax)?;
        let attribute = match text.split_once(',') {
            Some((attribute, rest)) => {
                self.0 = Some(rest);
                attribute
            }
            None => text,
        };
        let (name, value) = attribute.split_once('=').ok_or(Fault::Syntax)?;
        let mut letters = name.chars();
        match (letters.next(), letters.next()) {
            (Some(letter), None) if letter.is_ascii_alphabetic() && !value.contains('\0') => Ok((letter, value)),
            _ => Err(Fault::Syntax),
        }
    }

    fn expect(&mut self, letter: char) -> Result<&'a str, Fault> {
        match self.any()? {
            (found, value) if found == letter => Ok(value),
            // RFC 5802 §5.1: "m" announces an extension that must be understood.
            ('m', _) => Err(Fault::Extension),
            _ => Err(Fault::Syntax),
        }
    }

    fn nonce(&mut self) -> Result<&'a str, Fault> {
        self.expect('r').and_then(|nonce| if is_nonce(nonce) { Ok(nonce) } else { Err(Fault::Syntax) })
    }

    /// RFC 5802 §5.1: unknown extensions behind the known attributes are ignored.
    fn extensions(mut self) -> Result<(), Fault> {
        while self.0.is_some() {
            self.any()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_first_in_its_forms() {
        let first = ClientFirst::parse(b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL").unwrap();
        assert_eq!((first.gs2.text, first.gs2.flag), ("n,,", Flag::Unsupported));
        assert_eq!((first.bare, first.user.as_str()), ("n=user,r=fyko+d2lbbFgONRv9qkxdawL", "user"));
        assert_eq!(first.nonce, "fyko+d2lbbFgONRv9qkxdawL");
        let first = ClientFirst::parse("p=tls-exporter,a=a=2Cb=3D,n=\u{e9}=3D=2C,r=x,x=ext,y=".as_bytes()).unwrap();
        assert_eq!(first.gs2.text, "p=tls-exporter,a=a=2Cb=3D,");
        assert_eq!((first.gs2.flag, first.gs2.authzid.as_deref()), (Flag::Used("tls-exporter"), Some("a,b=")));
        assert_eq!(first.user, "\u{e9}=,");
    }

    #[test]
    fn client_first_that_is_none() {
        for bad in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n=u",
            "n,,n=u,",
            "n,,n=u,r=",
            "n,,n=,r=x",
            "n,,n=u=2c,r=x",
            "n,,n=u=,r=x",
            "n,,n=u=3,r=x",
            "n,,r=x,n=u",
            "N,,n=u,r=x",
            "x,,n=u,r=x",
            "p,,n=u,r=x",
            "p=,,n=u,r=x",
            "p=a b,,n=u,r=x",
            "n,b=x,n=u,r=x",
            "n,a=,n=u,r=x",
            "n,a=x=,n=u,r=x",
            "n,,n=u,r=x y",
            "n,,n=u,r=x,",
            "n,,n=u,r=x,nn=1",
            "n,,n=u,r=x,1=2",
            "n,,n=u\0,r=x",
            " n,,n=u,r=x",
        ] {
            assert_eq!(ClientFirst::parse(bad.as_bytes()).unwrap_err(), Fault::Syntax, "{bad}");
        }
        assert_eq!(ClientFirst::parse(b"n,,m=1,n=u,r=x").unwrap_err(), Fault::Extension);
        assert!(ClientFirst::parse(b"n,,n=\xff,r=x").is_err());
    }

    #[test]
    fn server_first_and_finals_that_are_none() {
        for bad in [
            "",
            "r=a",
            "r=a,s=QQ==",
            "r=a,s=QQ,i=1",
            "r=a,s=,i=1",
            "r=a,s=QQ==,i=0",
            "r=a,s=QQ==,i=01",
            "r=a,s=QQ==,i=",
            "r=a,s=QQ==,i=-1",
            "r=a,s=QQ==,i=99999999999",
            "s=QQ==,r=a,i=1",
            "r=a,s=QQ==,i=1,x",
        ] {
            assert_eq!(ServerFirst::parse(bad).unwrap_err(), Fault::Syntax, "{bad}");
        }
        assert_eq!(ServerFirst::parse("m=x,r=a,s=QQ==,i=1").unwrap_err(), Fault::Extension);
        for bad in ["", "c=biws", "c=biws,r=a", "c=biws,r=a,p=!", "c=b,r=a,p=QQ==", "r=a,c=biws,p=QQ==", "p=QQ=="] {
            assert_eq!(ClientFinal::parse(bad.as_bytes()).unwrap_err(), Fault::Syntax, "{bad}");
        }
        for bad in ["", "v=", "v", "v=!", "x=QQ==", "e=", "v=QQ==,"] {
            if bad == "v=" {
                assert_eq!(ServerFinal::parse(bad), Ok(ServerFinal::Signature(Vec::new())));
                continue;
            }
            assert_eq!(ServerFinal::parse(bad).unwrap_err(), Fault::Syntax, "{bad}");
        }
        assert_eq!(ServerFinal::parse("e=invalid-proof"), Ok(ServerFinal::Error("invalid-proof")));
    }
}
