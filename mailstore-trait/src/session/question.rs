//! Questions a session asks: typed, answered once, refusable.

use std::fmt;

/// Which of a session's questions an answer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QuestionId(u32);

/// A question of some protocol. Implemented by [`questions!`](crate::questions).
pub trait Question: Sized {
    /// What answers it.
    type Answer;
    /// The protocol's request enum.
    type Request;
    /// The protocol's answered-question type.
    type Answered;

    #[doc(hidden)]
    fn request(pending: Pending<Self>) -> Self::Request;
    #[doc(hidden)]
    fn answered(id: QuestionId, answer: Self::Answer) -> Self::Answered;
    /// The answer that is always safe: nothing is done, the peer is told to try later or refused.
    fn refusal() -> Self::Answer;
}

/// A question that is out. Not `Clone`: it is answered once, or never.
#[must_use]
pub struct Pending<Q> {
    /// What is asked.
    pub query: Q,
    id: QuestionId,
}

impl<Q: Question> Pending<Q> {
    /// Answers the question; hand the result to [`Session::resume`](super::Session::resume).
    pub fn answer(self, answer: Q::Answer) -> Q::Answered {
        Q::answered(self.id, answer)
    }

    /// Answers with the question's safe refusal.
    pub fn decline(self) -> Q::Answered {
        Q::answered(self.id, Q::refusal())
    }

    /// Takes the query out and keeps the right to answer.
    pub fn split(self) -> (Q, Reply<Q>) {
        (self.query, Reply { id: self.id, question: std::marker::PhantomData })
    }
}

impl<Q: fmt::Debug> fmt::Debug for Pending<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.query.fmt(f)
    }
}

/// The right to answer a question whose query was taken out by [`Pending::split`].
#[must_use]
pub struct Reply<Q> {
    id: QuestionId,
    question: std::marker::PhantomData<fn() -> Q>,
}

impl<Q: Question> Reply<Q> {
    /// Answers the question.
    pub fn answer(self, answer: Q::Answer) -> Q::Answered {
        Q::answered(self.id, answer)
    }

    /// Answers with the question's safe refusal.
    pub fn decline(self) -> Q::Answered {
        Q::answered(self.id, Q::refusal())
    }
}

impl<Q> fmt::Debug for Reply<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({})", self.id.0)
    }
}

/// A session's side of its questions: gives out ids, lets one question out at a time, drops stale answers.
#[derive(Debug, Default)]
pub struct Asking {
    last: u32,
    out: bool,
}

impl Asking {
    /// Asks. The caller has no other question out.
    pub fn ask<Q: Question>(&mut self, query: Q) -> Q::Request {
        debug_assert!(!self.out, "one question at a time");
        self.last = self.last.wrapping_add(1);
        self.out = true;
        Q::request(Pending { query, id: QuestionId(self.last) })
    }

    /// Whether this answer belongs to the question that is out; it is then no longer out.
    #[must_use]
    pub fn accept(&mut self, id: QuestionId) -> bool {
        let current = self.out && id.0 == self.last;
        if current {
            self.out = false;
        }
        current
    }

    /// Whether a question is out.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.out
    }

    /// Forgets the question that is out: its answer will be ignored.
    pub fn forget(&mut self) {
        self.out = false;
    }
}

/// Declares a protocol's questions in one table: the `Request` enum, its `Answered`, and each question's answer and
/// refusal.
///
/// ```
/// # /// Whose mailbox.
/// #[derive(Debug)]
/// pub struct RcptTo {
///     /// The address.
///     pub address: String,
/// }
///
/// mailstore_trait::questions! {
///     /// What an SMTP server asks.
///     /// Whether mail for this recipient is accepted.
///     RcptTo -> bool, refused by false;
/// }
///
/// let mut asking = mailstore_trait::session::Asking::default();
/// let Request::RcptTo(pending) = asking.ask(RcptTo { address: "a@example.org".into() });
/// assert_eq!(pending.query.address, "a@example.org");
/// let answered = pending.answer(true);
/// assert!(asking.accept(answered.id));
/// assert!(matches!(answered.answer, Answer::RcptTo(true)));
/// ```
#[macro_export]
macro_rules! questions {
    ($( $(#[$meta:meta])* $name:ident -> $answer:ty, refused by $refusal:expr; )+) => {
        /// A question of this session; answer it with [`Pending::answer`]($crate::session::Pending::answer) and
        /// hand the result to [`Session::resume`]($crate::session::Session::resume).
        #[derive(Debug)]
        #[non_exhaustive]
        pub enum Request {
            $( $(#[$meta])* $name($crate::session::Pending<$name>), )+
        }

        impl Request {
            /// Answers with the question's safe refusal, whatever the question is.
            pub fn decline(self) -> Answered {
                match self { $( Request::$name(pending) => pending.decline(), )+ }
            }

            /// The question's name, for logs and transcripts.
            pub fn name(&self) -> &'static str {
                match self { $( Request::$name(_) => stringify!($name), )+ }
            }
        }

        /// An answered question.
        #[derive(Debug)]
        pub struct Answered {
            pub(crate) id: $crate::session::QuestionId,
            pub(crate) answer: Answer,
        }

        #[derive(Debug)]
        pub(crate) enum Answer { $( $name($answer), )+ }

        $(
            impl $crate::session::Question for $name {
                type Answer = $answer;
                type Request = Request;
                type Answered = Answered;

                fn request(pending: $crate::session::Pending<Self>) -> Request {
                    Request::$name(pending)
                }

                fn answered(id: $crate::session::QuestionId, answer: $answer) -> Answered {
                    Answered { id, answer: Answer::$name(answer) }
                }

                fn refusal() -> $answer {
                    $refusal
                }
            }
        )+
    };
}
