//! Brokers and their leases in SQL.

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{PostgresDatabase, column, milliseconds};
use crate::object::database::{
    Answer, Brokers, ClusterIdentity, DatabaseError, Endpoint, FIRST_TAKEN_BROKER_ID, Fence,
    LiveBroker, ObjectsPlace, Registered, Registration, id_in_use,
};

/// Who has which id, and for how long.
const TAKEN: &str = "\
    SELECT b.broker_id, b.incarnation, \
        CAST(extract(epoch FROM l.lease_until - clock_timestamp()) * 1000 AS bigint) \
    FROM ottla.broker b JOIN ottla.broker_lease l ON l.broker_id = b.broker_id \
    WHERE l.lease_until > clock_timestamp() OR b.incarnation IN ($1, $2) ORDER BY b.broker_id";

fn place_of(row: &Row) -> Result<Option<ObjectsPlace>, DatabaseError> {
    let id: Option<Uuid> = column(row, 0)?;
    let url: Option<String> = column(row, 1)?;
    Ok(id.map(|id| ObjectsPlace {
        id,
        url: url.unwrap_or_default(),
    }))
}

struct Taken {
    broker_id: i32,
    incarnation: Uuid,
    lease_ms: i64,
}

impl PostgresDatabase {
    async fn registered(&self, registration: &Registration) -> Result<Registered, DatabaseError> {
        let mut work = self.lease_sessions.begin().await?;
        // One registers after the other.
        let sql = "UPDATE ottla.cluster SET last_epoch = last_epoch + 1 RETURNING last_epoch";
        let rows = work.query(sql, &[]).await?;
        let broker_epoch: i64 = rows.first().map_or(Ok(0), |row| column(row, 0))?;
        let incarnation = registration.incarnation;
        let replaced = registration.replaces.unwrap_or(incarnation);
        let mut taken = Vec::new();
        for row in work.query(TAKEN, &[&incarnation, &replaced]).await? {
            taken.push(Taken {
                broker_id: column(&row, 0)?,
                incarnation: column(&row, 1)?,
                lease_ms: column(&row, 2)?,
            });
        }
        let by_another = |id| {
            let own = [incarnation, replaced];
            let mut taken = taken.iter();
            taken.find(|broker| broker.broker_id == id && !own.contains(&broker.incarnation))
        };
        let of = |process| taken.iter().find(|broker| broker.incarnation == process);
        let own = of(incarnation).or_else(|| of(replaced));
        let broker_id = registration
            .broker_id
            .or(own.map(|own| own.broker_id))
            .or_else(|| (FIRST_TAKEN_BROKER_ID..).find(|id| by_another(*id).is_none()))
            .unwrap_or(i32::MAX);
        if let Some(broker) = by_another(broker_id) {
            let lease_ms = broker.lease_ms;
            work.roll_back().await?;
            return Err(id_in_use(broker_id, lease_ms));
        }
        // Waits for whatever is being written under the old epoch.
        let sql = "INSERT INTO ottla.broker (broker_id, epoch, incarnation, rack) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (broker_id) DO UPDATE SET epoch = excluded.epoch, \
                   incarnation = excluded.incarnation, rack = excluded.rack";
        let parameters: [&(dyn ToSql + Sync); 4] =
            [&broker_id, &broker_epoch, &incarnation, &registration.rack];
        work.query(sql, &parameters).await?;
        let sql = "DELETE FROM ottla.broker_endpoint WHERE broker_id = $1";
        work.query(sql, &[&broker_id]).await?;
        for (position, endpoint) in (0i32..).zip(&registration.endpoints) {
            let sql = "INSERT INTO ottla.broker_endpoint (broker_id, position, listener, host, port) \
                       VALUES ($1, $2, $3, $4, $5)";
            let port = i32::from(endpoint.port);
            let parameters: [&(dyn ToSql + Sync); 5] = [
                &broker_id,
                &position,
                &endpoint.listener,
                &endpoint.host,
                &port,
            ];
            work.query(sql, &parameters).await?;
        }
        let sql = "INSERT INTO ottla.broker_lease (broker_id, epoch, lease_until, seen_metadata) \
                   VALUES ($1, $2, clock_timestamp() + $3::bigint * interval '1 millisecond', 0) \
                   ON CONFLICT (broker_id) DO UPDATE SET epoch = excluded.epoch, \
                   lease_until = excluded.lease_until, seen_metadata = excluded.seen_metadata";
        let lease = milliseconds(registration.lease);
        work.query(sql, &[&broker_id, &broker_epoch, &lease])
            .await?;
        work.commit().await?;
        Ok(Registered {
            fence: Fence {
                broker_id,
                broker_epoch,
            },
            cluster_id: self.cluster.cluster_id,
            groups: self.cluster.groups,
        })
    }

    async fn renewed(
        &self,
        fence: Fence,
        lease: Duration,
        seen_metadata: i64,
    ) -> Result<(), DatabaseError> {
        let sql = "UPDATE ottla.broker_lease \
                   SET lease_until = clock_timestamp() + $3::bigint * interval '1 millisecond', seen_metadata = $4 \
                   WHERE broker_id = $1 AND epoch = $2 AND lease_until > clock_timestamp() RETURNING broker_id";
        let lease = milliseconds(lease);
        let parameters: [&(dyn ToSql + Sync); 4] = [
            &fence.broker_id,
            &fence.broker_epoch,
            &lease,
            &seen_metadata,
        ];
        let mut session = self.lease_sessions.get().await?;
        if session.query(sql, &parameters).await?.is_empty() {
            return Err(DatabaseError::Fenced);
        }
        Ok(())
    }

    async fn live(&self) -> Result<Vec<LiveBroker>, DatabaseError> {
        let sql = "SELECT b.broker_id, b.epoch, b.incarnation, b.rack, l.seen_metadata, e.listener, e.host, e.port \
                   FROM ottla.broker b JOIN ottla.broker_lease l ON l.broker_id = b.broker_id \
                   LEFT JOIN ottla.broker_endpoint e ON e.broker_id = b.broker_id \
                   WHERE l.lease_until > clock_timestamp() ORDER BY b.broker_id, e.position";
        let mut brokers: Vec<LiveBroker> = Vec::new();
        for row in &self.lease_sessions.read(sql, &[]).await? {
            let broker_id = column(row, 0)?;
            if brokers
                .last()
                .is_none_or(|last| last.broker_id != broker_id)
            {
                brokers.push(LiveBroker {
                    broker_id,
                    broker_epoch: column(row, 1)?,
                    incarnation: column(row, 2)?,
                    rack: column(row, 3)?,
                    endpoints: Vec::new(),
                    seen_metadata: column(row, 4)?,
                });
            }
            let listener: Option<String> = column(row, 5)?;
            if let (Some(listener), Some(broker)) = (listener, brokers.last_mut()) {
                broker.endpoints.push(Endpoint {
                    listener,
                    host: column(row, 6)?,
                    port: u16::try_from(column::<i32>(row, 7)?).unwrap_or(0),
                });
            }
        }
        Ok(brokers)
    }
}

impl Brokers for PostgresDatabase {
    fn identity(&self) -> Answer<'_, ClusterIdentity> {
        Box::pin(async move {
            let sql = "SELECT objects_id, objects_url FROM ottla.cluster";
            let rows = self.lease_sessions.read(sql, &[]).await?;
            let objects = rows.first().map(place_of).transpose()?.flatten();
            Ok(ClusterIdentity {
                cluster_id: self.cluster.cluster_id,
                objects,
            })
        })
    }

    fn settle_objects<'a>(&'a self, place: &'a ObjectsPlace) -> Answer<'a, ObjectsPlace> {
        Box::pin(async move {
            // Of two at a time the second waits for the first, and finds what it has written.
            let sql = "UPDATE ottla.cluster SET objects_id = coalesce(objects_id, $1), \
                       objects_url = coalesce(objects_url, $2) RETURNING objects_id, objects_url";
            let parameters: [&(dyn ToSql + Sync); 2] = [&place.id, &place.url];
            let row = self.lease_sessions.write(sql, &parameters).await?;
            let settled = place_of(&row)?;
            Ok(settled.unwrap_or_else(|| place.clone()))
        })
    }

    fn register<'a>(&'a self, registration: &'a Registration) -> Answer<'a, Registered> {
        Box::pin(self.registered(registration))
    }

    fn renew(&self, fence: Fence, lease: Duration, seen_metadata: i64) -> Answer<'_, ()> {
        Box::pin(self.renewed(fence, lease, seen_metadata))
    }

    fn leave(&self, fence: Fence) -> Answer<'_, ()> {
        Box::pin(async move {
            let sql = "UPDATE ottla.broker_lease SET lease_until = clock_timestamp() \
                       WHERE broker_id = $1 AND epoch = $2 AND lease_until > clock_timestamp()";
            let mut session = self.lease_sessions.get().await?;
            let parameters: [&(dyn ToSql + Sync); 2] = [&fence.broker_id, &fence.broker_epoch];
            session.query(sql, &parameters).await.map(drop)
        })
    }

    fn brokers(&self) -> Answer<'_, Vec<LiveBroker>> {
        Box::pin(self.live())
    }

    fn clock_ms(&self) -> Answer<'_, i64> {
        Box::pin(async move {
            let sql = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)";
            let rows = self.lease_sessions.read(sql, &[]).await?;
            rows.first().map_or(Ok(0), |row| column(row, 0))
        })
    }

    fn registered(&self) -> Answer<'_, Vec<i32>> {
        Box::pin(async move {
            let sql = "SELECT broker_id FROM ottla.broker ORDER BY broker_id";
            let rows = self.lease_sessions.read(sql, &[]).await?;
            rows.iter().map(|row| column(row, 0)).collect()
        })
    }
}
