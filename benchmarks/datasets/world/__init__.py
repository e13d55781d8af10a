"""A made world: moving, sounding objects, pictures of activities, before-and-after pairs, garments.

It needs no download and no network: every item is a function of (seed, kind, index), so item i
rendered alone is item i of any larger set. It is what the demo shows and what training is tested on.

* scenes: one to three bodies (shape, colour, material, texture, size); one or two of them do one of ten
  activities with their sound: impacts coincide with the picture, size sets the pitch, material the timbre.
  Captions tell shape, colour and activity; size, tempo and moments are in picture and sound only.
* stills: motion-blurred photographs of such activities, each of another instance (image to video search).
* gestures: clips of a body that sways, bobs, circles, turns ... alike in every single frame, so that only motion tells;
  poses are photographs of gestures whose blur tells (``load`` alone makes them).
* pairs: a table before and after one change of one body, or none; camera, light and noise change always.
* garments: photographs with product texts, in families whose members differ in one attribute; ``triplets``
  lists (reference, "but in red", targets).

Camera, light, walls, grain, onlookers, hum and beeps are nuisance: they tell nothing.

Splits. Units are split by their number, seven tenths train, one validation, two test, in the order of
``CYCLE``; units are films (four consecutive scenes), stills, pairs and families of garments. What is in a
unit then follows a seeded rule, so that combinations never cross: (shape, colour, activity) of whatever
moves in scenes and stills, (shape, colour, change) of a pair's subject and (type, colour) of a garment
occur in one split only, while every value, and every two of a triple, occur in train.

Narrations are what someone says during a film: for some films nobody speaks, some clips have no line, and
three in ten lines come one clip too early or too late.

``write`` puts a world on disk as files with manifests that any ingest can read:

* scenes.csv (video, audio, text), stills.csv (image, text), pairs.csv (before, after, text), garments.csv
  (image, text): id, media with paths relative to the folder, the plainest text, split, all factors;
* captions.csv: every text of every item (and triplet) by itself, with the id of what it is ``about``;
* narrations.csv: lines by scene, nearest first; triplets.csv: reference image, text, ids of the targets.

``load`` makes tasks of it, by track; what is held comes first, and what is searched last:

* text_video, video_text: the plainest caption of a scene; right is every scene in which a body of that shape and
  colour does that activity, whichever body it is.
* text_audio, audio_text: the same captions; right is every scene of that activity, since a sound does not tell colours.
* audio_video, video_audio: right is the scene itself, from its moments, sizes and materials.
* films, to train on: scenes with picture and sound; five captions of each, and every line said in its film, the
  nearest in time with the highest grade; right is the scene itself.
* image_video: stills; right is every scene of that activity.
* image_gesture: poses; right is every clip of that gesture.
* pair_text, text_pair: the first sentence about a pair; right is every pair with that very change of such a body.
* changes, to train on: all four sentences about a pair; right is every pair with that very change of such a body. Pairs
  without a change (meta ``change`` is none) are the distractors: viewpoint, light and noise alone differ.
* changes_views: the same, and for each changed pair a view of its state before from another place in another light,
  as the column ``distractor`` to train with, and as the picture after of an unchanged pair that competes.
* text_image: name and description of a product; right are the photographs of that product.
* composed: a garment and what should be different; right are the targets of its triplet, and it does not compete.
"""

from quiver.benchmarks.datasets.world.garment import Triplet
from quiver.benchmarks.datasets.world.item import Garment, Line, Pair, Scene, Still, World
from quiver.benchmarks.datasets.world.task import load
from quiver.benchmarks.datasets.world.write import write

__all__ = ["Garment", "Line", "Pair", "Scene", "Still", "Triplet", "World", "load", "write"]
