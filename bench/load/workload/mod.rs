//! Which request comes next: chooses kind and key, and appends the frame. It knows nothing of sockets or time. What a workload
//! consists of is said by its `file`; the `named` ones are files too.

pub mod file;
mod named;
mod op_kind;
pub mod random;

use std::collections::VecDeque;

pub use named::NAMED;
pub use op_kind::OpKind;

use crate::wire::{KEY_DIGITS, Part, SEQUENCE_DIGITS, Slot, Template, op_code};
use crate::workload::file::{Kind, Of, Operation, Spec};
use crate::workload::random::{KEY_SEED, MIX_SEED, Random, value};

/// What was appended.
pub struct Sent {
    pub kind: OpKind,
    pub frames: u8,
    /// Of a create: which znode.
    pub number: u64,
}

/// Which znode a request names.
#[derive(Clone, Copy)]
enum Choice {
    /// Any of the first `count`, by chance.
    Random { count: u64 },
    /// 0, 1, 2 and so on.
    Next,
    /// The oldest that this run created and that is still there.
    Oldest,
    /// Of a multi: keys by chance, and new znodes.
    Parts { count: u64 },
}

struct Step {
    kind: OpKind,
    template: Template,
    choice: Choice,
    /// Of a multi, for each path: a new znode, the last new one again, or a key.
    parts: Vec<Of>,
}

pub struct Workload {
    steps: Vec<Step>,
    /// For each step the sum of the weights up to it.
    bounds: Vec<u64>,
    /// Sent where nothing is left to delete.
    create: Step,
    keys: Random,
    mix: Random,
    next: u64,
    /// Created, answered, and not deleted yet: only where something deletes.
    deletable: Option<VecDeque<u64>>,
}

/// The paths of a workload.
#[derive(Clone)]
pub struct Places {
    /// Parent of the keys.
    pub keys: String,
    /// Parent of the parents to list.
    pub lists: String,
    /// What the names of new znodes begin with.
    pub new: String,
}

impl Places {
    /// `run` tells this run's new znodes from those of earlier ones.
    pub fn new(path: &str, spec: &Spec, run: u128) -> Places {
        let keys = format!("{path}{}", "/d".repeat(spec.levels));
        let new = if spec.create_among_keys { format!("{keys}/n{run}-") } else { format!("{path}/create-{run}/n") };
        Places { keys, lists: format!("{path}/lists"), new }
    }

    pub fn list(&self, number: u64) -> String {
        format!("{}/l{number:0digits$}", self.lists, digits = KEY_DIGITS)
    }

    fn key_slot(&self) -> Slot {
        Slot::new(format!("{}/k", self.keys), KEY_DIGITS)
    }

    fn new_slot(&self) -> Slot {
        Slot::new(&self.new, SEQUENCE_DIGITS)
    }
}

impl Workload {
    /// The mix that a file describes.
    pub fn mix(spec: &Spec, places: &Places) -> Workload {
        let mut sum = 0;
        let bounds = spec.operations.iter().map(|operation| {
            sum += operation.weight;
            sum
        });
        let bounds = bounds.collect();
        let steps: Vec<Step> = spec.operations.iter().map(|operation| Step::of(operation, spec, places)).collect();
        let create =
            Step::new(OpKind::Create, Template::create(&places.new_slot(), &value(spec.value_bytes)), Choice::Next);
        let mut workload = Workload::build(steps, bounds, create);
        if workload.steps.iter().any(|step| matches!(step.choice, Choice::Oldest)) {
            workload.deletable = Some(VecDeque::new());
        }
        workload
    }

    /// Creates the first `deletable` znodes that deletes will take.
    pub fn stock(places: &Places, value: &[u8]) -> Workload {
        Workload::only(OpKind::Create, Template::create(&places.new_slot(), value))
    }

    /// The first `count` new znodes are there.
    pub fn stocked(&mut self, count: u64) {
        if let Some(deletable) = &mut self.deletable {
            deletable.extend(0..count);
            self.next = count;
        }
    }

    /// Creates the keys one after the other.
    pub fn fill(path: &str, value: &[u8]) -> Workload {
        Workload::only(OpKind::Create, Template::create(&Slot::new(format!("{path}/k"), KEY_DIGITS), value))
    }

    /// Writes the keys one after the other.
    pub fn overwrite(path: &str, value: &[u8]) -> Workload {
        Workload::only(OpKind::Set, Template::set_data(&Slot::new(format!("{path}/k"), KEY_DIGITS), value))
    }

    /// Creates one empty znode.
    pub fn node(path: &str) -> Workload {
        Workload::only(OpKind::Create, Template::create(&Slot::new(path, 0), b""))
    }

    fn only(kind: OpKind, template: Template) -> Workload {
        let create = Step::new(OpKind::Create, Template::create(&Slot::new("/", 0), b""), Choice::Next);
        Workload::build(vec![Step::new(kind, template, Choice::Next)], vec![1], create)
    }

    fn build(steps: Vec<Step>, bounds: Vec<u64>, create: Step) -> Workload {
        Workload { steps, bounds, create, keys: Random(KEY_SEED), mix: Random(MIX_SEED), next: 0, deletable: None }
    }

    /// Appends the next request to `out` and says what it is.
    #[inline]
    pub fn append_next(&mut self, xid: i32, out: &mut Vec<u8>) -> Sent {
        let mut step = &self.steps[0];
        if let [.., total] = self.bounds[..]
            && self.steps.len() > 1
        {
            let drawn = self.mix.below(total);
            step = &self.steps[self.bounds.partition_point(|bound| *bound <= drawn)];
        }
        let number = match step.choice {
            Choice::Random { count } => self.keys.below(count),
            Choice::Next => take_next(&mut self.next),
            Choice::Oldest => match self.deletable.as_mut().and_then(VecDeque::pop_front) {
                Some(number) => number,
                None => {
                    step = &self.create;
                    take_next(&mut self.next)
                }
            },
            Choice::Parts { count } => {
                let frames = step.append_parts(xid, out, count, &mut self.keys, &mut self.next);
                return Sent { kind: step.kind, frames, number: 0 };
            }
        };
        let frames = step.template.append(out, xid, || number);
        Sent { kind: step.kind, frames, number }
    }

    /// A create was answered without an error.
    #[inline]
    pub fn created(&mut self, number: u64) {
        if let Some(deletable) = &mut self.deletable {
            deletable.push_back(number);
        }
    }
}

fn take_next(next: &mut u64) -> u64 {
    *next += 1;
    *next - 1
}

impl Step {
    fn new(kind: OpKind, template: Template, choice: Choice) -> Step {
        Step { kind, template, choice, parts: Vec::new() }
    }

    fn of(operation: &Operation, spec: &Spec, places: &Places) -> Step {
        let (key, new) = (places.key_slot(), places.new_slot());
        let any_key = Choice::Random { count: spec.keys };
        let value = value(operation.value_bytes.unwrap_or(spec.value_bytes));
        match operation.kind {
            Kind::Get => Step::new(OpKind::Get, Template::get_data(&key), any_key),
            Kind::Exists => Step::new(OpKind::Exists, Template::exists(&key), any_key),
            Kind::Set => Step::new(OpKind::Set, Template::set_data(&key, &value), any_key),
            Kind::SyncGet => Step::new(OpKind::SyncGet, Template::sync_get(&key), any_key),
            Kind::Create => Step::new(OpKind::Create, Template::create(&new, &value), Choice::Next),
            Kind::Delete => Step::new(OpKind::Delete, Template::delete(&new), Choice::Oldest),
            Kind::List if operation.of.is_empty() => {
                let parents = Slot::new(format!("{}/l", places.lists), KEY_DIGITS);
                Step::new(OpKind::List, Template::list(&parents), Choice::Random { count: spec.list_parents })
            }
            Kind::List => Step::new(OpKind::List, Template::list(&Slot::new(&places.keys, 0)), any_key),
            Kind::MultiRead => {
                let parts: Vec<Part> = (0..operation.size.unwrap_or(1)).map(|_| Part::Get(&key)).collect();
                let template = Template::multi(op_code::MULTI_READ, &parts);
                let choice = Choice::Parts { count: spec.keys };
                Step { kind: OpKind::MultiRead, template, choice, parts: vec![Of::Check; parts.len()] }
            }
            Kind::Multi => {
                let kinds: Vec<Of> = operation.parts().collect();
                let parts = kinds.iter().map(|of| match of {
                    Of::Set => Part::Set(&key, &value),
                    Of::Create => Part::Create(&new, &value),
                    Of::Delete => Part::Delete(&new),
                    Of::Check | Of::Keys => Part::Check(&key),
                });
                let template = Template::multi(op_code::MULTI, &parts.collect::<Vec<_>>());
                Step { kind: OpKind::Multi, template, choice: Choice::Parts { count: spec.keys }, parts: kinds }
            }
        }
    }

    /// Invariant, by the check of the file: a delete has a create before it in the same multi.
    fn append_parts(&self, xid: i32, out: &mut Vec<u8>, count: u64, keys: &mut Random, next: &mut u64) -> u8 {
        let mut parts = self.parts.iter();
        let mut created = VecDeque::new();
        self.template.append(out, xid, || match parts.next() {
            Some(Of::Create) => {
                created.push_back(*next);
                take_next(next)
            }
            Some(Of::Delete) => created.pop_front().unwrap_or(0),
            _ => keys.below(count),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn workload(text: &str) -> Workload {
        let mut spec = Spec::load("get").expect("valid");
        spec.keys = 10;
        spec.operations =
            toml::from_str::<std::collections::BTreeMap<String, Vec<Operation>>>(text).expect("toml")["operation"]
                .clone();
        let places = Places::new("/p", &spec, 5);
        Workload::mix(&spec, &places)
    }

    /// The path of the frame a workload appends.
    fn path(workload: &mut Workload) -> String {
        let mut out = Vec::new();
        workload.append_next(1, &mut out);
        let path_bytes = i32::from_be_bytes(out[12..16].try_into().expect("four")) as usize;
        std::str::from_utf8(&out[16..16 + path_bytes]).expect("ascii").to_owned()
    }

    #[test]
    fn fill_names_each_key_once_in_order() {
        let mut fill = Workload::fill("/p", b"v");
        let keys: Vec<String> = (0..3).map(|_| path(&mut fill)).collect();
        assert_eq!(keys, ["/p/k00000000", "/p/k00000001", "/p/k00000002"]);
    }

    #[test]
    fn random_keys_stay_in_bounds_and_reach_all() {
        let mut get = workload("operation = [{ kind = \"get\" }]");
        let keys: BTreeSet<String> = (0..500).map(|_| path(&mut get)).collect();
        let all: BTreeSet<String> = (0..10).map(|key| format!("/p/k{key:08}")).collect();
        assert_eq!(keys, all);
    }

    #[test]
    fn a_mix_keeps_its_shares() {
        let mut mixed = workload("operation = [{ kind = \"get\", weight = 7 }, { kind = \"set\", weight = 3 }]");
        let mut out = Vec::new();
        let writes = (0..10_000).filter(|&xid| mixed.append_next(xid, &mut out).kind == OpKind::Set).count();
        assert!((2_800..3_200).contains(&writes), "{writes} of 10000");
    }

    /// A delete must never overtake the create of the same znode, which may be under way on another connection.
    #[test]
    fn only_what_was_answered_is_deleted() {
        let mut delete = workload("operation = [{ kind = \"delete\" }]");
        let mut out = Vec::new();
        let first = delete.append_next(1, &mut out);
        assert_eq!((first.kind, first.number), (OpKind::Create, 0));
        assert_eq!(delete.append_next(2, &mut out).kind, OpKind::Create, "nothing is answered yet");
        delete.created(first.number);
        let third = delete.append_next(3, &mut out);
        assert_eq!((third.kind, third.number), (OpKind::Delete, 0));
        delete.stocked(5);
        assert_eq!((0..5).map(|xid| delete.append_next(xid, &mut out).number).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_multi_deletes_what_it_created() {
        let mut multi = workload("operation = [{ kind = \"multi\", size = 4, of = [\"create\", \"delete\"] }]");
        let mut out = Vec::new();
        multi.append_next(1, &mut out);
        let text = String::from_utf8_lossy(&out);
        let names = ["n000000000000", "n000000000001"].map(|name| text.matches(name).count());
        assert_eq!(names, [2, 2], "{text:?}");
    }
}
