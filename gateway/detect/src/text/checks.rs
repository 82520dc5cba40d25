//! What tells a real value from one that only looks like it: entropy, checksums, structure.

/// Shannon entropy of the bytes, bits for each.
pub(crate) fn entropy(value: &[u8]) -> f64 {
    if value.is_empty() {
        return 0.0;
    }
    let mut counts = [0_u32; 256];
    for &byte in value {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    let all = value.len() as f64;
    counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| {
            let share = f64::from(count) / all;
            -share * share.log2()
        })
        .sum()
}

/// CRC-32 (ISO-HDLC, as zlib has it).
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// `number` in base 62 (digits, upper case, lower case), six characters.
pub(super) fn base62(mut number: u32) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = Vec::new();
    for _ in 0..6 {
        text.push(DIGITS.get((number % 62) as usize).copied().unwrap_or(b'0'));
        number /= 62;
    }
    text.iter().rev().map(|&byte| char::from(byte)).collect()
}

/// Whether the last six characters are the base-62 CRC-32 of what stands between the prefix and them: tokens of GitHub
/// (since 2021) and npm.
pub(super) fn crc_at_end(token: &str) -> bool {
    let Some((_, body)) = token.split_once('_') else {
        return false;
    };
    body.len()
        .checked_sub(6)
        .filter(|&at| at > 0 && body.is_char_boundary(at))
        .map(|at| body.split_at(at))
        .is_some_and(|(random, sum)| base62(crc32(random.as_bytes())) == sum)
}

/// Whether the first part of a JSON Web Token is a header: JSON that names an algorithm.
pub(super) fn jwt_header(token: &str) -> bool {
    let head = token.split('.').next().unwrap_or_default();
    base64(head.as_bytes()).is_some_and(|json| {
        serde_json::from_slice::<serde_json::Value>(&json).is_ok_and(|value| value.get("alg").is_some())
    })
}

/// Base64 of either alphabet, with or without padding; `None` where it is not.
pub(super) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for &byte in text {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' | b'\n' | b'\r' => continue,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(((bits >> held) & 0xFF) as u8);
        }
    }
    Some(bytes)
}

/// The decimal digits of `text`, without what separates them.
pub(super) fn digits(text: &str) -> Vec<u8> {
    text.bytes()
        .filter(u8::is_ascii_digit)
        .map(|byte| byte - b'0')
        .collect()
}

/// Luhn's check (ISO/IEC 7812-1) of payment cards, and of several national numbers.
pub(super) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, &digit)| match (at % 2, u32::from(digit) * 2) {
            (0, _) => u32::from(digit),
            (_, twice) if twice > 9 => twice - 9,
            (_, twice) => twice,
        })
        .sum();
    digits.len() > 1 && sum.is_multiple_of(10)
}

/// The number that letters and digits spell (A = 10), modulo 97: 1 for an IBAN whose first four characters were moved to
/// its end (ISO 13616).
pub(super) fn iban(text: &str) -> bool {
    let plain: Vec<u8> = text.bytes().filter(u8::is_ascii_alphanumeric).collect();
    if plain.len() < 15 {
        return false;
    }
    let (head, tail) = plain.split_at(4);
    let rest = tail.iter().chain(head).fold(0_u32, |rest, &byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte.to_ascii_uppercase() - b'A') + 10) % 97,
    });
    rest == 1
}

fn weighted(digits: &[u8], weights: &[u32]) -> u32 {
    digits
        .iter()
        .zip(weights)
        .map(|(&digit, weight)| u32::from(digit) * weight)
        .sum()
}

/// ISO 7064 MOD 11,10: the German tax number, the Croatian OIB.
pub(super) fn mod11_10(digits: &[u8]) -> bool {
    let Some((&last, rest)) = digits.split_last() else {
        return false;
    };
    let product = rest.iter().fold(10_u32, |product, &digit| {
        let sum = (u32::from(digit) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10 == u32::from(last)
}

/// The British NHS number: modulo 11 with weights 10 to 2.
pub(super) fn nhs(digits: &[u8]) -> bool {
    let sum = weighted(digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2]);
    let check = (11 - sum % 11) % 11;
    digits.len() == 10 && check != 10 && digits.last().is_some_and(|&last| u32::from(last) == check)
}

/// The Brazilian CPF: two check digits modulo 11; eleven equal digits are none.
pub(super) fn cpf(digits: &[u8]) -> bool {
    let check = |weights: &[u32]| match weighted(digits, weights) * 10 % 11 {
        10 => 0,
        rest => rest,
    };
    digits.len() == 11
        && digits.windows(2).any(|pair| pair.first() != pair.last())
        && digits
            .get(9)
            .is_some_and(|&ninth| u32::from(ninth) == check(&[10, 9, 8, 7, 6, 5, 4, 3, 2]))
        && digits
            .get(10)
            .is_some_and(|&tenth| u32::from(tenth) == check(&[11, 10, 9, 8, 7, 6, 5, 4, 3, 2]))
}

/// The Polish PESEL.
pub(super) fn pesel(digits: &[u8]) -> bool {
    let sum = weighted(digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]);
    digits.len() == 11
        && digits
            .last()
            .is_some_and(|&last| u32::from(last) == (10 - sum % 10) % 10)
}

/// The Dutch BSN: the eleven test.
pub(super) fn bsn(digits: &[u8]) -> bool {
    let last = digits.last().copied().map_or(0, u32::from);
    digits.len() == 9
        && weighted(digits, &[9, 8, 7, 6, 5, 4, 3, 2])
            .checked_sub(last)
            .is_some_and(|sum| sum > 0 && sum.is_multiple_of(11))
}

/// The Indian Aadhaar number: Verhoeff's check.
pub(super) fn verhoeff(digits: &[u8]) -> bool {
    // The dihedral group of order ten, by arithmetic: 0-4 are turns, 5-9 reflections.
    let multiply = |a: u32, b: u32| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => (a + b) % 5 + 5,
        (false, true) => (a + 5 - b) % 5 + 5,
        (false, false) => (a + 5 - b) % 5,
    };
    const SHIFT: [u32; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let permuted = |digit: u8, times: usize| {
        (0..times % 8).fold(u32::from(digit), |digit, _| {
            SHIFT.get(digit as usize).copied().unwrap_or(0)
        })
    };
    let sum = digits
        .iter()
        .rev()
        .enumerate()
        .fold(0, |sum, (at, &digit)| multiply(sum, permuted(digit, at)));
    digits.len() > 1 && sum == 0
}

/// The French social-security number (NIR): the key is 97 less the number modulo 97.
pub(super) fn nir(digits: &[u8]) -> bool {
    let Some((number, key)) = digits.split_at_checked(13) else {
        return false;
    };
    let value = number
        .iter()
        .fold(0_u64, |value, &digit| value * 10 + u64::from(digit));
    let key = key
        .iter()
        .fold(0_u64, |value, &digit| value * 10 + u64::from(digit));
    digits.len() == 15 && 97 - value % 97 == key
}

/// The Spanish DNI and NIE: the letter is a function of the number modulo 23.
pub(super) fn dni(text: &str) -> bool {
    const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let plain: Vec<u8> = text
        .bytes()
        .filter(u8::is_ascii_alphanumeric)
        .map(|byte| byte.to_ascii_uppercase())
        .collect();
    let Some((&letter, number)) = plain.split_last() else {
        return false;
    };
    let value = number.iter().fold(0_usize, |value, &byte| match byte {
        b'X' | b'Y' | b'Z' => value * 10 + usize::from(byte - b'X'),
        _ => value * 10 + usize::from(byte.wrapping_sub(b'0') % 10),
    });
    plain.len() == 9 && LETTERS.get(value % 23) == Some(&letter)
}

/// The Chinese resident number: ISO 7064 MOD 11-2, the last character may be X.
pub(super) fn mod11_2(text: &str) -> bool {
    let plain: Vec<u8> = text.bytes().filter(u8::is_ascii_alphanumeric).collect();
    let Some((&last, number)) = plain.split_last() else {
        return false;
    };
    let sum = number.iter().fold(0_u32, |sum, &byte| {
        (sum + u32::from(byte.wrapping_sub(b'0') % 10)) * 2 % 11
    });
    let check = (12 - sum) % 11;
    let said = if last.eq_ignore_ascii_case(&b'x') {
        10
    } else {
        u32::from(last.wrapping_sub(b'0'))
    };
    plain.len() == 18 && said == check
}

/// The Italian codice fiscale: a letter by tables for odd and even places.
pub(super) fn codice_fiscale(text: &str) -> bool {
    const ODD: [u32; 26] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23,
    ];
    let upper = text.to_ascii_uppercase();
    let Some((&last, rest)) = upper.as_bytes().split_last() else {
        return false;
    };
    let sum: u32 = rest
        .iter()
        .enumerate()
        .map(|(at, &byte)| {
            let value = if byte.is_ascii_digit() {
                byte - b'0'
            } else {
                byte.wrapping_sub(b'A')
            };
            if at % 2 == 0 {
                ODD.get(usize::from(value)).copied().unwrap_or(0)
            } else {
                u32::from(value)
            }
        })
        .sum();
    rest.len() == 15 && u32::from(last.wrapping_sub(b'A')) == sum % 26
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_hold_for_published_examples_and_fail_for_their_neighbours() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert!(luhn(&digits("4111 1111 1111 1111")) && !luhn(&digits("4111 1111 1111 1112")));
        assert!(iban("DE89 3704 0044 0532 0130 00") && !iban("DE88 3704 0044 0532 0130 00"));
        assert!(iban("GB82WEST12345698765432"));
        assert!(mod11_10(&digits("86095742719")) && !mod11_10(&digits("86095742718")));
        assert!(nhs(&digits("943 476 5919")) && !nhs(&digits("943 476 5918")));
        assert!(cpf(&digits("111.444.777-35")) && !cpf(&digits("111.111.111-11")));
        assert!(pesel(&digits("44051401359")) && !pesel(&digits("44051401358")));
        assert!(bsn(&digits("111222333")) && !bsn(&digits("111222334")));
        assert!(verhoeff(&digits("2363")) && !verhoeff(&digits("2364")));
        assert!(nir(&digits("255081416802538")) && !nir(&digits("255081416802539")));
        assert!(dni("12345678Z") && !dni("12345678A") && dni("X1234567L"));
        assert!(mod11_2("11010519491231002X") && !mod11_2("110105194912310021"));
        assert!(codice_fiscale("RSSMRA85T10A562S") && !codice_fiscale("RSSMRA85T10A562T"));
    }

    #[test]
    fn base64_reads_both_alphabets_and_nothing_else() {
        assert_eq!(base64(b"aGVsbG8=").unwrap(), b"hello");
        assert_eq!(base64(b"_-8").unwrap(), [0xFF, 0xEF]);
        assert_eq!(base64(b"not base64!"), None);
        assert!(jwt_header("eyJhbGciOiJIUzI1NiJ9.x.y") && !jwt_header("eyJhIjoxfQ.x.y"));
    }

    #[test]
    fn entropy_is_that_of_the_bytes() {
        assert!(entropy(b"aaaa").abs() < 1e-9);
        assert!((entropy(b"abcd") - 2.0).abs() < 1e-9);
        assert!(entropy(b"").abs() < 1e-9);
    }
}
