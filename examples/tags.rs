//! Invalidating all pages that show a product, whatever their addresses.

use larder::Cache;

#[derive(Clone)]
struct Page {
    body: String,
    /// The products it shows.
    products: Vec<u64>,
}

fn main() {
    let pages: Cache<String, Page> = Cache::builder()
        .capacity(1000)
        .tags(|_: &String, page: &Page| page.products.clone())
        .build();
    let store = |url: &str, products: &[u64]| {
        let body = format!("Products {products:?}");
        pages.insert(url.to_owned(), Page { body, products: products.to_vec() });
    };
    store("/", &[1, 2, 3]);
    store("/lamps", &[1, 2]);
    store("/lamps/2", &[2]);
    store("/chairs", &[3]);

    // The price of product 2 changed. Its pages are gone at once, the others stay.
    pages.remove_tag(&2_u64);
    assert!(!pages.contains_key("/lamps"));
    assert_eq!(pages.read("/chairs", |page| page.body.clone()).as_deref(), Some("Products [3]"));

    // A page computed anew carries the tags of its new value.
    store("/", &[1, 3]);
    pages.remove_tag(&2_u64);
    assert!(pages.contains_key("/"));
    pages.remove_tag(&3_u64);
    assert!(!pages.contains_key("/"));

    // What they held is given back by the operations that follow, or now.
    pages.run_maintenance();
    assert!(pages.is_empty());
    println!("All pages with product 3 are gone.");
}
