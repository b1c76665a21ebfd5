//! Which parts of the agent run, so that the end of one of them is noticed.

use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Tasks and threads that end only with the agent.
#[derive(Default)]
pub(super) struct Watched {
    ends: JoinSet<String>,
}

impl Watched {
    /// Starts a task; its end is told with this name.
    pub(super) fn task(
        &mut self,
        name: impl Into<String>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let name = name.into();
        let task = tokio::spawn(task);
        self.ends.spawn(async move {
            // A panic has been told where it happened.
            let _ = task.await;
            name
        });
    }

    /// Watches a thread that says when it has ended as it may.
    pub(super) fn thread(&mut self, name: impl Into<String>, ended: oneshot::Receiver<()>) {
        let name = name.into();
        self.ends.spawn(async move {
            if ended.await.is_ok() {
                std::future::pending::<()>().await;
            }
            name
        });
    }

    /// Waits until one of them has ended. Gives its name.
    pub(super) async fn ended(&mut self) -> String {
        match self.ends.join_next().await {
            Some(Ok(name)) => name,
            // These tasks only wait, and nobody cancels them.
            Some(Err(_)) | None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_of_the_agent_that_breaks_down_is_named() {
        let mut watched = Watched::default();
        watched.task("the task that runs", std::future::pending());
        let (end, ended) = oneshot::channel();
        watched.thread("the recording that is at its end", ended);
        end.send(()).unwrap();
        let (end, ended) = oneshot::channel::<()>();
        watched.thread("the thread that breaks", ended);
        let thread = std::thread::spawn(move || {
            let _end = end;
            panic!("a thread of a test");
        });
        thread.join().unwrap_err();
        assert_eq!(watched.ended().await, "the thread that breaks");
        watched.task("the task that breaks", async { panic!("a task of a test") });
        assert_eq!(watched.ended().await, "the task that breaks");
        watched.task("the task that just ends", async {});
        assert_eq!(watched.ended().await, "the task that just ends");
    }
}
