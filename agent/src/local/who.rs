//! Who is at the other end of the socket, by what the kernel says.

use std::fs;

/// The name of a user of this machine (passwd(5)), or the number of one that has none.
pub(super) fn user(uid: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    named(&users, uid).unwrap_or_else(|| format!("user {uid}"))
}

fn named(users: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    let line = users.lines().find(|line| line.split(':').nth(2) == Some(uid.as_str()))?;
    let name = line.split(':').next().filter(|name| !name.is_empty())?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_told_by_name_where_they_have_one() {
        let users =
            "root:x:0:0:root:/root:/bin/bash\nanna:x:1000:1000::/home/anna:/bin/sh\n:x:7::\n";
        assert_eq!(named(users, 1000).as_deref(), Some("anna"));
        assert_eq!(named(users, 0).as_deref(), Some("root"));
        assert_eq!((named(users, 7), named(users, 100), named("", 0)), (None, None, None));
        assert_eq!(user(u32::MAX - 5), format!("user {}", u32::MAX - 5));
    }
}
