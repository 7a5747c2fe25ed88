//! What one node hears, remembers and says.

use super::*;

fn voters() -> BTreeSet<NodeId> {
    (1..=3).map(NodeId).collect()
}

fn begin(own: u64, directory: u128) -> Forming {
    let stored = Formation::default();
    Forming::start(NodeId(own), DirectoryId(directory), voters(), stored, |_| Ok(()))
        .expect("possible")
}

/// One hears the other, and says what it has to remember.
fn hear(one: &mut Forming, other: &Forming) -> Result<Option<Formation>, Refusal> {
    let mut written = None;
    let heard = one.hear(other.own, &other.announcement(), |formation| {
        written = Some(formation.clone());
        Ok(())
    });
    match heard {
        Ok(()) => Ok(written),
        Err(HearError::Refused(refusal)) => Err(refusal),
        Err(HearError::Io(error)) => panic!("{error}"),
    }
}

/// Three voters that formed a cluster.
fn formed() -> [Forming; 3] {
    let mut nodes = [begin(1, 11), begin(2, 12), begin(3, 13)];
    for _ in 0..2 {
        for (one, other) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)] {
            let other = nodes[other].clone();
            hear(&mut nodes[one], &other).expect("no wipe, no refusal");
        }
    }
    assert!(nodes.iter().all(Forming::counts));
    nodes
}

#[test]
fn three_voters_form_when_each_has_heard_that_the_others_know_all() {
    let mut nodes = [begin(1, 11), begin(2, 12), begin(3, 13)];
    assert!(nodes[0].trouble().unwrap().contains("waiting for nodes 2 and 3 to form"));
    let [one, two, three] = &mut nodes;
    hear(one, two).unwrap();
    hear(two, one).unwrap();
    assert!(one.trouble().unwrap().contains("waiting for node 3 to form the cluster"));
    hear(one, three).unwrap();
    hear(three, one).unwrap();
    hear(three, two).unwrap();
    assert!(one.trouble().unwrap().contains("waiting for nodes 2 and 3 to agree"));
    // Node 2 has not bound node 3 yet, so nobody may form.
    hear(one, three).unwrap();
    hear(one, two).unwrap();
    assert!(!one.counts());
    hear(two, three).unwrap();
    hear(one, two).unwrap();
    assert!(one.counts(), "both others have said that they know all three");
    assert_eq!(one.trouble(), None);
    let written = hear(three, one).unwrap().expect("something to remember");
    assert_eq!((written.formed, three.counts()), (true, true));
}

#[test]
fn a_lone_voter_forms_at_once_and_durably() {
    let mut written = None;
    let (own, directory) = (NodeId(7), DirectoryId(70));
    let alone = Forming::start(own, directory, [own].into(), Formation::default(), |formation| {
        written = Some(formation.clone());
        Ok(())
    })
    .expect("possible");
    assert!(alone.counts());
    assert_eq!(written.as_ref(), Some(alone.formation()));
    let again = Forming::start(own, directory, [own].into(), written.unwrap(), |_| {
        panic!("nothing is new")
    });
    assert_eq!(again, Ok(alone));
}

#[test]
fn a_wiped_voter_learns_who_votes_and_never_does() {
    let nodes = formed();
    let mut wiped = begin(3, 99);
    hear(&mut wiped, &nodes[0]).unwrap().expect("something to remember");
    assert!(wiped.was_wiped());
    assert!(!wiped.counts());
    let trouble = wiped.trouble().unwrap();
    for words in ["node 3 is 0", "63", "never votes", "put the old data directory back"] {
        assert!(trouble.contains(words), "`{words}` is not in: {trouble}");
    }
    // Those that count see by its directory that it does not.
    assert!(!nodes[0].formation().counts(NodeId(3), DirectoryId(99)));
    assert_eq!(hear(&mut nodes[0].clone(), &wiped), Ok(None));
}

#[test]
fn a_voter_replaced_before_the_cluster_formed_is_named_by_all_who_know() {
    let (mut one, mut two) = (begin(1, 11), begin(2, 12));
    hear(&mut one, &begin(3, 13)).unwrap();
    let mut new = begin(3, 99);
    hear(&mut one, &new).unwrap();
    let trouble = one.trouble().unwrap();
    for words in [
        "can not form: node 3 has the data directory 00000000000000000000000000000063",
        "first heard of was 0000000000000000000000000000000d",
        "unless by node 2",
        "remove the data directories of all voters",
    ] {
        assert!(trouble.contains(words), "`{words}` is not in: {trouble}");
    }
    hear(&mut new, &one).unwrap();
    assert!(new.trouble().unwrap().contains("this node has the data directory 0"));
    hear(&mut two, &new).unwrap();
    hear(&mut two, &one).unwrap();
    let trouble = two.trouble().unwrap();
    assert!(trouble.contains("d at node 1"), "{trouble}");
    assert!(trouble.contains("so nothing was written yet."), "{trouble}");
    // The old directory is put back.
    let old = begin(3, 13);
    hear(&mut one, &old).unwrap();
    assert!(one.trouble().unwrap().contains("waiting for node 2"));
}

#[test]
fn observers_take_over_what_formed_and_are_no_part_of_it() {
    let mut observer = begin(4, 14);
    assert_eq!(hear(&mut observer, &begin(1, 11)), Ok(None), "it binds nobody");
    let mut one = begin(1, 11);
    assert_eq!(hear(&mut one, &observer), Ok(None), "nobody binds it");
    hear(&mut observer, &formed()[2]).unwrap().expect("something to remember");
    assert!(!observer.counts() && !observer.was_wiped());
    assert_eq!(observer.trouble(), None);
}

#[test]
fn other_voters_are_named() {
    let mut one = begin(1, 11);
    let other = [1, 2, 4].map(NodeId).into();
    let stored = Formation::default();
    let two = Forming::start(NodeId(2), DirectoryId(12), other, stored, |_| Ok(())).unwrap();
    let message = hear(&mut one, &two).unwrap_err().to_string();
    for words in ["voters 1, 2, 4,", "here 1, 2, 3;", "only there: 4", "only here: 3"] {
        assert!(message.contains(words), "`{words}` is not in: {message}");
    }
    assert!(one.trouble().unwrap().contains("nodes 2 and 3"), "it was not heard");
}

#[test]
fn two_clusters_that_formed_apart_do_not_mix() {
    let mut one = formed()[0].clone();
    let mut other = formed()[1].clone();
    other.formation.directories = (1..=3).map(|id| (NodeId(id), DirectoryId(50))).collect();
    let message = hear(&mut one, &other).unwrap_err().to_string();
    assert!(message.contains("two clusters are mixed"), "{message}");
    // Nor does one that is about to form swallow, or get swallowed.
    let mut ready = begin(1, 21);
    hear(&mut ready, &begin(2, 22)).unwrap();
    hear(&mut ready, &begin(3, 23)).unwrap();
    assert!(matches!(hear(&mut ready, &one), Err(Refusal::OtherCluster { .. })));
}

#[test]
fn what_can_not_be_is_refused() {
    let mut one = begin(1, 11);
    let mut lies = begin(2, 12).announcement();
    lies.formation.formed = true;
    let heard = one.hear(NodeId(2), &lies, |_| panic!("nothing to remember"));
    assert!(matches!(heard, Err(HearError::Refused(Refusal::Inconsistent))));
    // A directory that was bound otherwise than the cluster formed, which takes a damaged disk.
    hear(&mut one, &begin(3, 99)).unwrap();
    let refused = hear(&mut one, &formed()[1]).unwrap_err();
    assert!(matches!(refused, Refusal::BoundOtherwise { voter: NodeId(3), .. }), "{refused}");
}

#[test]
fn other_voters_than_at_the_first_start_are_refused() {
    let stored = formed()[0].formation.clone();
    let start = |voters: &[u64], stored: &Formation| {
        let voters = voters.iter().copied().map(NodeId).collect();
        Forming::start(NodeId(1), DirectoryId(11), voters, stored.clone(), |_| Ok(()))
    };
    assert!(start(&[1, 2, 3], &stored).is_ok());
    for others in [&[1, 2][..], &[1, 2, 3, 4], &[1]] {
        let error = start(others, &stored).unwrap_err();
        assert!(error.contains("formed with nodes 1, 2 and 3"), "{error}");
    }
    let begun = Formation { formed: false, ..stored };
    assert!(start(&[1, 2, 3, 4], &begun).is_ok(), "nothing was agreed yet");
    assert!(start(&[1, 2], &begun).unwrap_err().contains("does not have node 3"));
}

#[test]
fn what_could_not_be_written_does_not_count() {
    let mut one = begin(1, 11);
    let before = one.clone();
    let failed = one.hear(NodeId(2), &begin(2, 12).announcement(), |_| {
        Err(io::Error::other("the disk failed"))
    });
    assert!(matches!(failed, Err(HearError::Io(_))));
    assert_eq!(one, before);
}
