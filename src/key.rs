//! Owned keys from borrowed ones.

use std::{
    ffi::{CStr, CString, OsStr, OsString},
    hash::Hash,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::Equivalent;

/// A borrowed form of a key, of which the key itself can be made: what read-through asks with.
///
/// Asked for by `str` or a slice, what the cache keeps does not follow from the question: give its type
/// where nothing else does.
///
/// Every key that is `Clone` is one of itself; `str` is one of `String`, `Box<str>` and `Arc<str>`, and
/// so are slices, `Path`, `OsStr` and `CStr` of theirs. For a key of several parts, or a borrowed form
/// of another library's, implement it for a view:
///
/// ```
/// use larder::{Cache, Equivalent, ToKey};
///
/// #[derive(Clone, Hash, PartialEq, Eq)]
/// struct PageKey {
///     host: String,
///     path: String,
/// }
///
/// /// Hashes like the key: the same parts in the same order.
/// #[derive(Clone, Copy, Hash)]
/// struct PageRef<'a> {
///     host: &'a str,
///     path: &'a str,
/// }
///
/// impl Equivalent<PageKey> for PageRef<'_> {
///     fn equivalent(&self, key: &PageKey) -> bool {
///         self.host == key.host && self.path == key.path
///     }
/// }
///
/// impl ToKey<PageKey> for PageRef<'_> {
///     fn to_key(&self) -> PageKey {
///         PageKey { host: self.host.to_owned(), path: self.path.to_owned() }
///     }
/// }
///
/// let pages = Cache::<PageKey, String>::new(100);
/// let page = PageRef { host: "larder.example", path: "/" };
/// assert_eq!(pages.get_or_insert_with(&page, || "made".to_owned()), "made");
/// assert_eq!(pages.get_or_insert_with(&page, || unreachable!()), "made"); // nothing allocated
/// ```
pub trait ToKey<K>: Equivalent<K> + Hash {
    /// The key. It must be [equivalent](Equivalent) to `self` and hash alike. Called once for a load,
    /// under no lock of the cache.
    fn to_key(&self) -> K;
}

/// A key, asked for by itself.
impl<K: Clone + Eq + Hash> ToKey<K> for K {
    #[inline]
    fn to_key(&self) -> K {
        self.clone()
    }
}

/// Makes what is borrowed a form of what it can be converted into.
macro_rules! from_borrowed {
    ($(<$($item:ident)?> $borrowed:ty => $key:ty;)*) => {$(
        impl$(<$item: Clone + Eq + Hash>)? ToKey<$key> for $borrowed {
            #[inline]
            fn to_key(&self) -> $key {
                self.into()
            }
        }
    )*};
}

from_borrowed! {
    <> str => String;
    <> str => Box<str>;
    <> str => Arc<str>;
    <> Path => PathBuf;
    <> Path => Box<Path>;
    <> Path => Arc<Path>;
    <> OsStr => OsString;
    <> OsStr => Box<OsStr>;
    <> OsStr => Arc<OsStr>;
    <> CStr => CString;
    <> CStr => Box<CStr>;
    <> CStr => Arc<CStr>;
    <T> [T] => Vec<T>;
    <T> [T] => Box<[T]>;
    <T> [T] => Arc<[T]>;
}
