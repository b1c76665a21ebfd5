//! Messages that a client has not acknowledged are sent again in their order.
//!
//! MQTT 5 demands it (4.6), and devices rely on it: readings that come in another order fall into
//! other windows. rmqtt 0.24 takes them from the wrong end of its list when a client comes back, so
//! here the list is turned round on its way. All else is rmqtt's.

use async_trait::async_trait;
use rmqtt::Result;
use rmqtt::context::ServerContext;
use rmqtt::session::Session;
use rmqtt::shared::{DefaultShared, Entry, Shared};
use rmqtt::types::{
    ForwardedCount, ForwardedRecipients, From, Id, IsAdmin, MsgID, OfflineSession, Publish, Reason,
    SessionStatus, SubRelations, SubRelationsMap, SubsSearchParams, SubsSearchResult, Subscribe,
    SubscribeReturn, To, Tx, Unsubscribe,
};
use std::result::Result as Either;

/// What could not be handed on, and why.
type Failed = Vec<(To, From, Publish, Reason)>;

/// The broker's sessions.
pub struct InOrder(DefaultShared);

impl InOrder {
    /// Has a broker send in order again.
    pub async fn keep(broker: &ServerContext) {
        let sessions = InOrder(DefaultShared::new(Some(broker.clone())));
        *broker.extends.shared_mut().await = Box::new(sessions);
    }
}

#[async_trait]
impl Shared for InOrder {
    fn entry(&self, id: Id) -> Box<dyn Entry> {
        Box::new(Client(self.0.entry(id)))
    }

    fn exist(&self, client_id: &str) -> bool {
        self.0.exist(client_id)
    }

    async fn forwards(
        &self,
        message: Option<MsgID>,
        from: From,
        publish: Publish,
    ) -> Either<ForwardedCount, (ForwardedCount, Failed)> {
        self.0.forwards(message, from, publish).await
    }

    async fn forwards_and_get_shareds(
        &self,
        from: From,
        publish: Publish,
    ) -> Either<(SubRelationsMap, ForwardedRecipients), (ForwardedRecipients, Failed)> {
        self.0.forwards_and_get_shareds(from, publish).await
    }

    async fn forwards_to(
        &self,
        from: From,
        publish: &Publish,
        relations: SubRelations,
        message: Option<MsgID>,
    ) -> Either<ForwardedRecipients, (ForwardedRecipients, Failed)> {
        self.0.forwards_to(from, publish, relations, message).await
    }

    fn iter(&self) -> Box<dyn Iterator<Item = Box<dyn Entry>> + Sync + Send + '_> {
        Box::new(self.0.iter().map(|entry| Box::new(Client(entry)) as Box<dyn Entry>))
    }

    fn random_session(&self) -> Option<Session> {
        self.0.random_session()
    }

    async fn session_status(&self, client_id: &str) -> Option<SessionStatus> {
        self.0.session_status(client_id).await
    }

    async fn client_states_count(&self) -> usize {
        self.0.client_states_count().await
    }

    fn sessions_count(&self) -> usize {
        self.0.sessions_count()
    }

    async fn query_subscriptions(&self, search: &SubsSearchParams) -> Vec<SubsSearchResult> {
        self.0.query_subscriptions(search).await
    }

    async fn subscriptions_count(&self) -> usize {
        self.0.subscriptions_count().await
    }
}

/// One client's session.
struct Client(Box<dyn Entry>);

#[async_trait]
impl Entry for Client {
    async fn try_lock(&self) -> Result<Box<dyn Entry>> {
        Ok(Box::new(Client(self.0.try_lock().await?)))
    }

    /// Ends a session, or has it taken over: what it leaves is sent again from the list's end.
    async fn kick(
        &mut self,
        clean_start: bool,
        clear_subscriptions: bool,
        is_admin: IsAdmin,
    ) -> Result<OfflineSession> {
        let mut left = self.0.kick(clean_start, clear_subscriptions, is_admin).await?;
        if let OfflineSession::Exist(Some(left)) = &mut left {
            left.inflight_messages.reverse();
        }
        Ok(left)
    }

    fn id(&self) -> Id {
        self.0.id()
    }

    fn id_same(&self) -> Option<bool> {
        self.0.id_same()
    }

    async fn set(&mut self, session: Session, tx: Tx) -> Result<()> {
        self.0.set(session, tx).await
    }

    async fn remove(&mut self) -> Result<Option<(Session, Tx)>> {
        self.0.remove().await
    }

    async fn remove_with(&mut self, id: &Id) -> Result<Option<(Session, Tx)>> {
        self.0.remove_with(id).await
    }

    async fn online(&self) -> bool {
        self.0.online().await
    }

    async fn is_connected(&self) -> bool {
        self.0.is_connected().await
    }

    fn session(&self) -> Option<Session> {
        self.0.session()
    }

    fn exist(&self) -> bool {
        self.0.exist()
    }

    fn tx(&self) -> Option<Tx> {
        self.0.tx()
    }

    async fn subscribe(&self, subscribe: &Subscribe) -> Result<SubscribeReturn> {
        self.0.subscribe(subscribe).await
    }

    async fn unsubscribe(&self, unsubscribe: &Unsubscribe) -> Result<bool> {
        self.0.unsubscribe(unsubscribe).await
    }

    async fn publish(&self, from: From, publish: Publish) -> Either<(), (From, Publish, Reason)> {
        self.0.publish(from, publish).await
    }

    async fn subscriptions(&self) -> Option<Vec<SubsSearchResult>> {
        self.0.subscriptions().await
    }
}
