//! Tokens: made or taken, shown once, and from then on known by their hash alone.

use std::collections::HashSet;
use std::fmt;

use secrecy::zeroize::Zeroize as _;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::limits::{TOKEN_MAX_BYTES, TOKEN_MIN_BITS, TOKEN_MIN_BYTES};

/// Bytes of a token that is made here: 256 bits, from the operating system.
const MINTED_BYTES: usize = 32;

/// Bytes in a row that random tokens hardly have twice.
const REPEATED_BYTES: usize = 4;

/// A token in its plain form. Zeroized when dropped; its `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct Token(SecretString);

/// A token that is the caller's own is not fit to be one. What it was is not said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfitToken {
    /// It is too short or too long.
    #[error("has {bytes} bytes; it must have {TOKEN_MIN_BYTES} to {TOKEN_MAX_BYTES}")]
    Length {
        /// How many it has.
        bytes: usize,
    },
    /// It cannot stand in a header.
    #[error("may only have letters, digits and -._~+/=")]
    Letters,
    /// It could be guessed.
    #[error("is too regular to be secret: at least {TOKEN_MIN_BITS} bits are needed")]
    Guessable,
}

impl Token {
    /// A new one.
    pub fn mint() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; MINTED_BYTES];
        getrandom::fill(&mut bytes)?;
        let token = hexadecimal(&bytes);
        bytes.zeroize();
        Ok(Self(token.into()))
    }

    /// One of the caller's own.
    pub fn given(token: SecretString) -> Result<Self, UnfitToken> {
        let text = token.expose_secret();
        let bytes = text.len();
        if !(TOKEN_MIN_BYTES..=TOKEN_MAX_BYTES).contains(&bytes) {
            return Err(UnfitToken::Length { bytes });
        }
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if !text.bytes().all(is_allowed) {
            return Err(UnfitToken::Letters);
        }
        if bits(text.as_bytes()) < TOKEN_MIN_BITS {
            return Err(UnfitToken::Guessable);
        }
        Ok(Self(token))
    }

    /// What is kept of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.0.expose_secret())
    }

    /// The plain text, to be shown to whom it is for, once.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// An upper bound of what could be unknown of it: Shannon's measure of a byte, for as many bytes as
/// do not repeat what stands before them.
fn bits(bytes: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in bytes {
        counts[usize::from(*byte)] += 1;
    }
    let all = bytes.len() as f64;
    let each = counts.iter().filter(|count| **count > 0);
    let of_a_byte: f64 = each
        .map(|count| f64::from(*count) / all)
        .map(|share| -share * share.log2())
        .sum();
    let distinct: HashSet<&[u8]> = bytes.windows(REPEATED_BYTES).collect();
    (distinct.len() + REPEATED_BYTES - 1) as f64 * of_a_byte
}

/// SHA-256 of a token. The tokens are random and long, so that there is nothing to be guessed and
/// no need of a slow hash; and finding one by its hash tells nothing by the time it takes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Of whatever was presented as a token.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Compares in constant time.
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    pub(super) fn to_hexadecimal(self) -> String {
        hexadecimal(&self.0)
    }

    pub(super) fn from_hexadecimal(text: &str) -> Option<Self> {
        let mut hash = [0; 32];
        if text.len() != 2 * hash.len() || !text.is_ascii() {
            return None;
        }
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = str::from_utf8(digits).ok()?;
            *byte = u8::from_str_radix(digits, 16).ok()?;
        }
        Some(Self(hash))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    // Of its final size, so that no part of a token is left where a smaller text was.
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 0xF));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Result<(), UnfitToken> {
        Token::given(text.to_owned().into()).map(drop)
    }

    #[test]
    fn own_token_must_be_long_and_irregular() {
        assert_eq!(given("0f3c9a7be1d2485690bc7de1f23a4b58"), Ok(()));
        assert_eq!(
            given("0f3c9a7be1d2485690bc7de1f23a4b5"),
            Err(UnfitToken::Length { bytes: 31 })
        );
        assert_eq!(
            given(&"a1".repeat(300)),
            Err(UnfitToken::Length { bytes: 600 })
        );
        assert_eq!(given(&"password".repeat(8)), Err(UnfitToken::Guessable));
        assert_eq!(given(&"a".repeat(500)), Err(UnfitToken::Guessable));
        assert_eq!(
            given("0f3c9a7be1d2485690bc7de1 23a4b58"),
            Err(UnfitToken::Letters)
        );
    }

    #[test]
    fn minted_tokens_differ_and_are_fit() {
        let (one, other) = (Token::mint().expect("one"), Token::mint().expect("another"));
        assert_eq!(one.expose().len(), 64);
        assert!(!one.hash().is(&other.hash()));
        assert_eq!(given(one.expose()), Ok(()));
        let back = TokenHash::from_hexadecimal(&one.hash().to_hexadecimal());
        assert!(back.expect("a hash").is(&one.hash()));
    }

    #[test]
    fn nothing_that_is_printed_shows_a_token() {
        let token = Token::mint().expect("a token");
        let shown = format!("{token:?} {:?}", token.hash());
        assert!(!shown.contains(token.expose()), "{shown}");
        assert!(!shown.contains(&token.hash().to_hexadecimal()), "{shown}");
    }
}
