//! GSSAPI (RFC 4752): a client shows a ticket of Kerberos for the broker, and both go on without a security layer.
//!
//! ```text
//! client                          broker
//! ticket ────────────────────────►
//!        ◄──────────────────────── proof that it can read the ticket
//! nothing ───────────────────────►
//!        ◄──────────────────────── offer, sealed: no layer
//! choice, sealed ────────────────►
//! ```
//!
//! The tokens are those of the system's library, which also keeps whoever has recorded a ticket from showing it again. It may
//! read files, so each step is handed out.

use std::ffi::CString;
use std::path::PathBuf;
use std::ptr;
use std::sync::Arc;

use libgssapi::context::{SecurityContext as _, ServerCtx};
use libgssapi::credential::Cred;
use libgssapi::error::{Error, MajorFlags};
use libgssapi::name::Name;
use libgssapi::oid::{GSS_MECH_KRB5, GSS_NT_KRB5_PRINCIPAL};
use libgssapi_sys as sys;
use parking_lot::Mutex;

use super::{Failure, Identity, Step, ToClient};
use crate::log_limited;
use crate::security::kerberos_names::LocalNames;

pub(super) const NAME: &str = "GSSAPI";

/// The only security layer that is offered (RFC 4752, 3.3): none, in messages of no bytes.
const NO_LAYER: [u8; 4] = [1, 0, 0, 0];

/// What a listener needs to read the tickets of its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KerberosService {
    /// Where the key is that tickets for the broker are made with. Read for each log-in, so that it may be replaced.
    pub keytab: PathBuf,
    /// `SERVICE/HOST@REALM`: the broker.
    pub principal: String,
    /// `sasl.kerberos.principal.to.local.rules`
    pub names: LocalNames,
}

impl KerberosService {
    /// Whether tickets can be read.
    ///
    /// # Errors
    /// There is no such key; one line for the operator.
    pub(crate) fn check(&self) -> Result<(), String> {
        let failed = |what, error: Error| {
            let (keytab, principal) = (self.keytab.display(), &self.principal);
            Err(format!(
                "GSSAPI: {what} of {principal} in {keytab}: {error}"
            ))
        };
        match (self.credential(), default_realm()) {
            (Ok(_), Ok(_)) => Ok(()),
            (Err(error), _) => failed("no key", error),
            (_, Err(error)) => failed("no realm", error),
        }
    }

    /// The broker's key.
    #[expect(
        unsafe_code,
        reason = "libgssapi cannot say in which file a key is; each pointer is of a value that lives until the call has ended"
    )]
    fn credential(&self) -> Result<Cred, Error> {
        let unusable = |_| Error {
            major: MajorFlags::GSS_S_BAD_NAME,
            minor: 0,
        };
        let keytab = CString::new(self.keytab.as_os_str().as_encoded_bytes()).map_err(unusable)?;
        let mut element = sys::gss_key_value_element_desc {
            key: c"keytab".as_ptr(),
            value: keytab.as_ptr(),
        };
        let store = sys::gss_key_value_set_desc {
            count: 1,
            elements: &raw mut element,
        };
        let mut kerberos = KERBEROS;
        let mut only_kerberos = sys::gss_OID_set_desc {
            count: 1,
            elements: &raw mut kerberos.0,
        };
        let mut text = sys::gss_buffer_desc {
            length: self.principal.len(),
            value: self.principal.as_ptr().cast_mut().cast(),
        };
        let (mut minor, mut name, mut credential) = (0, ptr::null_mut(), ptr::null_mut());
        let imported =
            unsafe { sys::gss_import_name(&mut minor, &mut text, ptr::null_mut(), &mut name) };
        checked(imported, minor)?;
        let acquired = unsafe {
            sys::gss_acquire_cred_from(
                &mut minor,
                name,
                sys::_GSS_C_INDEFINITE,
                &raw mut only_kerberos,
                sys::GSS_C_ACCEPT.cast_signed(),
                &raw const store,
                &mut credential,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        let mut ignored = 0;
        unsafe { sys::gss_release_name(&mut ignored, &mut name) };
        checked(acquired, minor)?;
        // Nobody else has it.
        Ok(unsafe { Cred::from_c(credential) })
    }
}

fn checked(major: u32, minor: u32) -> Result<(), Error> {
    match major {
        sys::GSS_S_COMPLETE => Ok(()),
        major => Err(Error {
            major: MajorFlags::from_bits_retain(major),
            minor,
        }),
    }
}

/// 1.2.840.113554.1.2.2
struct Kerberos(sys::gss_OID_desc);
const KERBEROS: Kerberos = Kerberos(sys::gss_OID_desc {
    length: 9,
    elements: b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02"
        .as_ptr()
        .cast_mut()
        .cast(),
});

/// The realm of names without one.
fn default_realm() -> Result<String, Error> {
    let name = Name::new(b"nobody", Some(GSS_NT_KRB5_PRINCIPAL))?;
    let whole = text_of(&name.canonicalize(Some(GSS_MECH_KRB5))?)?;
    let realm = whole.rsplit_once('@').map(|(_, realm)| realm.to_owned());
    Ok(realm.unwrap_or_default())
}

fn text_of(name: &Name) -> Result<String, Error> {
    Ok(String::from_utf8_lossy(&name.display_name()?).into_owned())
}

/// One log-in under way.
pub(super) struct Gssapi(Arc<Mutex<Acceptance>>);

struct Acceptance {
    service: Arc<KerberosService>,
    stage: Stage,
}

enum Stage {
    /// `None`: nothing has been said.
    Ticket(Option<ServerCtx>),
    Proved(ServerCtx),
    Offered(ServerCtx),
    Over,
}

impl Gssapi {
    pub(super) fn new(service: Arc<KerberosService>) -> Self {
        let stage = Stage::Ticket(None);
        Self(Arc::new(Mutex::new(Acceptance { service, stage })))
    }

    pub(super) fn step(&self, token: &[u8]) -> Step {
        let (acceptance, token) = (Arc::clone(&self.0), token.to_owned());
        Step::Work(Box::new(move || acceptance.lock().take(&token)))
    }
}

impl Acceptance {
    fn take(&mut self, token: &[u8]) -> Step {
        let outcome = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Ticket(context) => self.read_ticket(context, token),
            Stage::Proved(context) if token.is_empty() => self.offer(context),
            Stage::Proved(_) => {
                return failed(None, "says something where there is nothing to say");
            }
            Stage::Offered(context) => return self.conclude(context, token),
            Stage::Over => return failed(None, "has said too much"),
        };
        outcome.unwrap_or_else(|error| {
            // The library's words name principals and times, no keys.
            log_limited!(debug, target: "ottla::authentication", "GSSAPI: {error}");
            failed(None, "the ticket cannot be used")
        })
    }

    fn read_ticket(&mut self, context: Option<ServerCtx>, token: &[u8]) -> Result<Step, Error> {
        let mut context = match context {
            Some(context) => context,
            None => ServerCtx::new(Some(self.service.credential()?)),
        };
        let answer = context.step(token, None)?;
        match (answer, context.is_complete()) {
            (None, true) => self.offer(context),
            (Some(answer), true) => {
                self.stage = Stage::Proved(context);
                Ok(Step::Challenge(answer.to_vec()))
            }
            (answer, false) => {
                self.stage = Stage::Ticket(Some(context));
                Ok(Step::Challenge(
                    answer.map_or_else(Vec::new, |answer| answer.to_vec()),
                ))
            }
        }
    }

    fn offer(&mut self, mut context: ServerCtx) -> Result<Step, Error> {
        let offer = context.wrap(false, &NO_LAYER)?;
        self.stage = Stage::Offered(context);
        Ok(Step::Challenge(offer.to_vec()))
    }

    /// Whoever the client wants to act for, it is the one that the ticket is of, as in Kafka.
    fn conclude(&self, mut context: ServerCtx, token: &[u8]) -> Step {
        let choice = context.unwrap(token);
        let is_no_layer = choice.is_ok_and(|choice| choice.len() >= 4 && choice[0] == NO_LAYER[0]);
        if !is_no_layer {
            return failed(None, "wants a security layer, or has not sealed its choice");
        }
        let known = context.source_name().and_then(|name| text_of(&name));
        let known = known.and_then(|principal| Ok((principal, default_realm()?)));
        let Ok((principal, realm)) = known else {
            return failed(None, "the ticket names nobody");
        };
        match self.service.names.apply(&principal, &realm) {
            Some(name) => Step::Done(Identity {
                name,
                answer: Vec::new(),
                expires_at_ms: None,
                by_token: false,
            }),
            None => failed(
                Some(principal),
                "no rule of sasl.kerberos.principal.to.local.rules gives its principal a name",
            ),
        }
    }
}

fn failed(user: Option<String>, why: &'static str) -> Step {
    Step::Failed(Failure {
        to_client: ToClient::InvalidCredentials,
        user,
        why,
    })
}
