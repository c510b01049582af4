//! Many waits at once, but never too many.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Nodes worked on at the same time.
const TOGETHER_MAX: usize = 32;

/// Runs all of them, some at a time, and returns their results in order. `lost` stands in for one that panicked.
pub(super) async fn all<T, F>(works: impl IntoIterator<Item = F>, lost: impl Fn() -> T) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(TOGETHER_MAX));
    let mut set = JoinSet::new();
    for (index, work) in works.into_iter().enumerate() {
        let places = Arc::clone(&places);
        set.spawn(async move {
            let _place = places.acquire_owned().await;
            (index, work.await)
        });
    }
    let mut results: Vec<Option<T>> = std::iter::repeat_with(|| None).take(set.len()).collect();
    while let Some(done) = set.join_next().await {
        if let Ok((index, result)) = done {
            results[index] = Some(result);
        }
    }
    results.into_iter().map(|result| result.unwrap_or_else(&lost)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn results_keep_their_order_whoever_is_first() {
        let works = (0..100u64).map(|n| async move {
            for _ in 0..(100 - n) {
                tokio::task::yield_now().await;
            }
            n
        });
        assert_eq!(all(works, || 0).await, (0..100).collect::<Vec<_>>());
    }
}
