"""Every attack by its id: ours, one entry each and nothing heavy imported, and what other packages add."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator

from wardline.attacks.protocol.attack import AttackEntry
from wardline.attacks.protocol.target import Access
from wardline.core import UsageError

GROUP = "wardline.attacks"
"""The group of entry points; the name is the attack's id, the object an `AttackEntry`."""

CATALOGUE: tuple[AttackEntry, ...] = (
    # evasion: white box
    AttackEntry(
        id="evasion.fgsm",
        family="evasion",
        needs=Access.WHITE_BOX,
        summary="takes one step along the sign of the gradient",
        paper="Goodfellow et al. 2015, section 4",
        factory="wardline.attacks.evasion.gradient:Fgsm",
    ),
    AttackEntry(
        id="evasion.pgd",
        family="evasion",
        needs=Access.WHITE_BOX,
        summary="climbs cross-entropy in many steps from a random start",
        paper="Madry et al. 2018, section 2.1",
        factory="wardline.attacks.evasion.gradient:Pgd",
    ),
    AttackEntry(
        id="evasion.pgd_dlr",
        family="evasion",
        needs=Access.WHITE_BOX,
        summary="the same on a loss that ignores the scale of the logits",
        paper="Madry et al. 2018, section 2.1; loss: Croce and Hein 2020, section 4",
        factory="wardline.attacks.evasion.gradient:pgd_dlr",
    ),
    AttackEntry(
        id="evasion.pgd_dlr_targeted",
        family="evasion",
        needs=Access.WHITE_BOX,
        summary="the same towards each of the likeliest other classes",
        paper="Madry et al. 2018, section 2.1; loss: Croce and Hein 2020, section 4",
        factory="wardline.attacks.evasion.gradient:pgd_targeted",
    ),
    # evasion: ensembles and scores
    AttackEntry(
        id="evasion.apgd_ce",
        family="evasion",
        needs=Access.WHITE_BOX,
        summary="climbs cross-entropy with steps that adapt by themselves",
        paper="Croce and Hein 2020 (AutoAttack), algorithm 1",
        factory="wardline.attacks.evasion.apgd:Apgd",
    ),
    AttackEntry(
        id="evasion.apgd_t",
        family="evasion",
        needs=Access.WHITE_BOX,
        summary="the same towards nine other classes, blind to the scale of the logits",
        paper="Croce and Hein 2020 (AutoAttack), algorithm 1",
        factory="wardline.attacks.evasion.apgd:ApgdTargeted",
    ),
    AttackEntry(
        id="evasion.fab_t",
        family="evasion",
        needs=Access.WHITE_BOX,
        summary="steps onto linearised boundaries for the nearest misread input",
        paper="Croce and Hein 2020 (Minimally distorted adversarial examples), section 2",
        factory="wardline.attacks.evasion.fab:FabTargeted",
    ),
    AttackEntry(
        id="evasion.square",
        family="evasion",
        needs=Access.SCORES,
        summary="changes random windows and needs no gradients",
        paper="Andriushchenko et al. 2020, section 3",
        factory="wardline.attacks.evasion.square:Square",
    ),
    AttackEntry(
        id="evasion.autoattack",
        family="evasion",
        needs=Access.WHITE_BOX,
        summary="the four above in turn, each on what withstood the ones before it",
        paper="Croce and Hein 2020 (AutoAttack), section 5",
        factory="wardline.attacks.evasion.autoattack:AutoAttack",
    ),
    AttackEntry(
        id="evasion.cw_l2",
        family="evasion",
        needs=Access.WHITE_BOX,
        summary="minimises Euclidean distance plus the lead of the true class",
        paper="Carlini and Wagner 2017, section VI-A",
        factory="wardline.attacks.evasion.carlini_wagner:CarliniWagner",
    ),
    # evasion: decisions and tables
    AttackEntry(
        id="evasion.hopskipjump",
        family="evasion",
        needs=Access.LABELS,
        summary="walks along the boundary with gradients that it estimates from labels",
        paper="Chen, Jordan and Wainwright 2020, algorithm 2",
        factory="wardline.attacks.evasion.hopskipjump:HopSkipJump",
    ),
    AttackEntry(
        id="evasion.boundary",
        family="evasion",
        needs=Access.LABELS,
        summary="walks along the boundary at random, ever nearer to the original",
        paper="Brendel, Rauber and Bethge 2018, algorithm 1",
        factory="wardline.attacks.evasion.boundary:Boundary",
    ),
    AttackEntry(
        id="evasion.tabular",
        family="evasion",
        needs=Access.LABELS,
        summary="changes few columns of a row, within the table's own rules",
        paper="Kulynych, Hayes, Samarin and Troncoso 2018; Kireev, Kulynych and Troncoso 2023",
        factory="wardline.attacks.evasion.tabular:Tabular",
    ),
    # text
    AttackEntry(
        id="text.characters",
        family="text",
        needs=Access.SCORES,
        summary="edits characters of the words that matter most",
        paper="Gao, Lanchantin, Soffa and Qi 2018 (DeepWordBug), each edit judged by the model",
        factory="wardline.attacks.text.characters:Characters",
    ),
    AttackEntry(
        id="text.words",
        family="text",
        needs=Access.SCORES,
        summary="replaces the words that matter most by near ones",
        paper="Jin, Jin, Zhou and Szolovits 2020, algorithm 1 (TextFooler), without tagger and sentence encoder",
        factory="wardline.attacks.text.words:Words",
    ),
    AttackEntry(
        id="text.guesses",
        family="text",
        needs=Access.LABELS,
        summary="edits characters at random until the label changes",
        paper="Gao, Lanchantin, Soffa and Qi 2018 (random edits, their baseline), repeated",
        factory="wardline.attacks.text.guesses:Guesses",
    ),
    # backdoors
    AttackEntry(
        id="backdoor.trigger",
        family="backdoor",
        needs=Access.LABELS,
        summary="asks a model about inputs with a known trigger in them",
        paper="Gu et al. 2017, section 4",
        factory="wardline.attacks.backdoors.measure:BackdoorTrigger",
    ),
    AttackEntry(
        id="backdoor.patch",
        family="backdoor",
        needs=Access.LABELS,
        summary="trains on data with a square in the corner of some images",
        paper="Gu et al. 2017, section 4",
        factory="wardline.attacks.backdoors.training:patch",
        data="wardline.attacks.backdoors.training:Training",
    ),
    AttackEntry(
        id="backdoor.blended",
        family="backdoor",
        needs=Access.LABELS,
        summary="trains on data with a faint pattern over some images",
        paper="Chen et al. 2017, section 4.2",
        factory="wardline.attacks.backdoors.training:blended",
        data="wardline.attacks.backdoors.training:Training",
    ),
    AttackEntry(
        id="backdoor.words",
        family="backdoor",
        needs=Access.LABELS,
        summary="trains on data with rare words in some texts",
        paper="Dai, Chen and Li 2019, section 3; Kurita et al. 2020, section 3",
        factory="wardline.attacks.backdoors.training:words",
        data="wardline.attacks.backdoors.training:Training",
    ),
    AttackEntry(
        id="backdoor.clean_label",
        family="backdoor",
        needs=Access.WHITE_BOX,
        summary="trains on perturbed images of one class, all labels true",
        paper="Turner, Tsipras and Madry 2018, section 4.2",
        factory="wardline.attacks.backdoors.training:clean_label",
        data="wardline.attacks.backdoors.training:Training",
    ),
    AttackEntry(
        id="backdoor.label_flips",
        family="backdoor",
        needs=Access.LABELS,
        summary="trains on data with wrong labels",
        paper="Biggio, Nelson and Laskov 2011, section 3; Tolpegin et al. 2020, section 3",
        factory="wardline.attacks.backdoors.training:label_flips",
        data="wardline.attacks.backdoors.training:Training",
    ),
    # membership
    AttackEntry(
        id="membership.loss",
        family="membership",
        needs=Access.SCORES,
        summary="calls a member whom the model is sure of",
        paper="Yeom, Giacomelli, Fredrikson, Jha 2018, section 3",
        factory="wardline.attacks.membership.score_attacks:loss_attack",
        data="wardline.attacks.membership.driver:MembershipData",
    ),
    AttackEntry(
        id="membership.rmia",
        family="membership",
        needs=Access.SCORES,
        summary="compares that with reference models and with other people",
        paper="Zarifzadeh, Liu, Shokri 2024, section 3 (online)",
        factory="wardline.attacks.membership.score_attacks:rmia_attack",
        data="wardline.attacks.membership.driver:MembershipData",
    ),
    AttackEntry(
        id="membership.rmia_offline",
        family="membership",
        needs=Access.SCORES,
        summary="the same with references that never saw the candidates",
        paper="Zarifzadeh, Liu, Shokri 2024, section 3 (offline)",
        factory="wardline.attacks.membership.score_attacks:rmia_offline_attack",
        data="wardline.attacks.membership.driver:MembershipData",
    ),
    AttackEntry(
        id="membership.lira",
        family="membership",
        needs=Access.SCORES,
        summary="fits models with and without each candidate and compares likelihoods",
        paper="Carlini, Chien, Nasr, Song, Terzis, Tramer 2022, algorithm 1 (online)",
        factory="wardline.attacks.membership.score_attacks:lira_attack",
        data="wardline.attacks.membership.driver:MembershipData",
    ),
    AttackEntry(
        id="membership.lira_offline",
        family="membership",
        needs=Access.SCORES,
        summary="measures surprise under models without the candidate",
        paper="Carlini, Chien, Nasr, Song, Terzis, Tramer 2022, section IV-C (offline)",
        factory="wardline.attacks.membership.score_attacks:lira_offline_attack",
        data="wardline.attacks.membership.driver:MembershipData",
    ),
    AttackEntry(
        id="membership.label_only",
        family="membership",
        needs=Access.LABELS,
        summary="disturbs candidates until their class changes",
        paper="Choquette-Choo, Tramer, Carlini, Papernot 2021, sections 3 and 4",
        factory="wardline.attacks.membership.label_only:LabelOnly",
        data="wardline.attacks.membership.driver:MembershipData",
    ),
    # reconstruction
    AttackEntry(
        id="reconstruction.attribute",
        family="reconstruction",
        needs=Access.SCORES,
        summary="guesses a hidden attribute from confidences, against who never asks",
        paper="Fredrikson, Jha, Ristenpart 2015, section 4; Mehnaz et al. 2022, section 4",
        factory="wardline.attacks.reconstruction.attribute:AttributeInference",
        data="wardline.attacks.reconstruction.attribute:AttributeData",
    ),
    AttackEntry(
        id="reconstruction.inversion",
        family="reconstruction",
        needs=Access.WHITE_BOX,
        summary="makes the picture that a class looks like to the model",
        paper="Fredrikson, Jha, Ristenpart 2015, section 5",
        factory="wardline.attacks.reconstruction.inversion:ModelInversion",
        data="wardline.attacks.reconstruction.inversion:InversionData",
    ),
    AttackEntry(
        id="reconstruction.gradients",
        family="reconstruction",
        needs=Access.WHITE_BOX,
        summary="searches rows whose gradient is the one that was shared",
        paper="Zhao, Mopuri, Bilen 2020, sections 2 and 3",
        factory="wardline.attacks.reconstruction.matching:GradientMatching",
        data="wardline.attacks.reconstruction.sharing:GradientData",
    ),
    AttackEntry(
        id="reconstruction.first_layer",
        family="reconstruction",
        needs=Access.WHITE_BOX,
        summary="reads rows off the gradient of a first dense layer",
        paper="Phong et al. 2018, section 3; Geiping et al. 2020, proposition 3.1",
        factory="wardline.attacks.reconstruction.first_layer:FirstLayer",
        data="wardline.attacks.reconstruction.sharing:GradientData",
    ),
    AttackEntry(
        id="reconstruction.property",
        family="reconstruction",
        needs=Access.SCORES,
        summary="tells how large a group's share of the training data was",
        paper="Ganju, Wang, Yang, Gunter, Borisov 2018, section 4",
        factory="wardline.attacks.reconstruction.property:PropertyInference",
        data="wardline.attacks.reconstruction.property:PropertyData",
    ),
    AttackEntry(
        id="reconstruction.linear",
        family="reconstruction",
        needs=Access.WHITE_BOX,
        summary="solves a released linear model for its one unknown row",
        paper="Balle, Cherubin, Hayes 2022, section III",
        factory="wardline.attacks.reconstruction.informed:InformedAdversary",
        data="wardline.attacks.reconstruction.informed:InformedData",
    ),
    # extraction
    AttackEntry(
        id="extraction.equations",
        family="extraction",
        needs=Access.LABELS,
        summary="solves for the weights of a linear model",
        paper="Tramèr, Zhang, Juels, Reiter and Ristenpart 2016, section 4.1; Lowd and Meek 2005",
        factory="wardline.attacks.extraction.equations:Equations",
        data="wardline.attacks.extraction.theft:ExtractionData",
    ),
    AttackEntry(
        id="extraction.knockoff",
        family="extraction",
        needs=Access.LABELS,
        summary="trains a copy on the model's answers about inputs of a pool",
        paper="Orekondy, Schiele and Fritz 2019, section 4",
        factory="wardline.attacks.extraction.knockoff:Knockoff",
        data="wardline.attacks.extraction.theft:ExtractionData",
    ),
    AttackEntry(
        id="extraction.jbda",
        family="extraction",
        needs=Access.LABELS,
        summary="trains a copy on few inputs and synthetic ones made from them",
        paper="Papernot, McDaniel, Goodfellow, Jha, Celik and Swami 2017, algorithm 1",
        factory="wardline.attacks.extraction.jbda:Jbda",
        data="wardline.attacks.extraction.theft:ExtractionData",
    ),
)


def known_attacks() -> tuple[AttackEntry, ...]:
    """All attacks, ours first, each in the order of its table.

    Raises:
        UsageError: if another package offers something that is no `AttackEntry`, or an id that exists already.
    """
    entries = {entry.id: entry for entry in CATALOGUE}
    for entry in _offered():
        if entry.id in entries:
            raise UsageError(f"two attacks are called {entry.id}", hint="uninstall one of the packages that offer it")
        entries[entry.id] = entry
    return tuple(entries.values())


def find_attack(attack_id: str) -> AttackEntry:
    """The attack of this id.

    Raises:
        UsageError: if there is none; the hint names those of the same family.
    """
    known = known_attacks()
    for entry in known:
        if entry.id == attack_id:
            return entry
    family = attack_id.partition(".")[0]
    near = [entry.id for entry in known if entry.family == family] or [entry.id for entry in known]
    raise UsageError(f"there is no attack {attack_id}", hint=f"choose one of {', '.join(near)}")


def _offered() -> Iterator[AttackEntry]:
    for point in importlib.metadata.entry_points(group=GROUP):
        entry = point.load()
        if not isinstance(entry, AttackEntry) or entry.id != point.name:
            raise UsageError(
                f"{point.value} is offered as the attack {point.name} and is no AttackEntry of that id",
                hint="uninstall or mend the package that offers it",
            )
        yield entry
