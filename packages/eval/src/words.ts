/** Words of which keys are made: short and common. */

export const KEY_WORDS: readonly string[] = (
  "Acorn Amber Anchor Apple Arrow Aspen Autumn Badge Bamboo Banjo Barrel Basil Beacon Berry Birch Bishop Blanket " +
  "Bonfire Bottle Branch Brick Bridge Bronze Bucket Butter Button Cabin Cactus Camel Candle Canyon Carpet Castle " +
  "Cedar Cellar Cherry Chimney Cinder Circus Clover Cobalt Coffee Compass Copper Coral Cotton Cradle Crater Cricket " +
  "Crystal Cymbal Dagger Daisy Desert Diamond Dolphin Donkey Dragon Drum Eagle Echo Ember Emerald Falcon Feather " +
  "Fiddle Flute Forest Fossil Fountain Galaxy Garden Garlic Gazelle Ginger Glacier Goblet Granite Grape Hammer " +
  "Harbor Harvest Hazel Hedge Helmet Heron Hollow Honey Horizon Hunter Igloo Indigo Iron Island Ivory Jacket Jasmine " +
  "Jewel Jungle Kayak Kettle Kitten Ladder Lagoon Lantern Laurel Lemon Lily Linen Lizard Locket Lotus Magnet Maple " +
  "Marble Meadow Melon Mirror Mitten Monkey Mosaic Muffin Mustard Napkin Needle Nickel Nutmeg Oasis Ocean Olive " +
  "Onyx Opal Orbit Orchid Otter Oyster Paddle Palace Panther Parrot Pearl Pebble Pencil Pepper Piano Pillow Pine " +
  "Planet Plum Pocket Poppy Prairie Pumpkin Puzzle Quartz Quilt Rabbit Raven Ribbon River Robin Rocket Rose Saddle " +
  "Saffron Salmon Sapphire Scarf Shadow Shell Silver Slipper Spruce Squash Stable Stone Summer Sunset Swan Table " +
  "Tango Temple Thimble Thunder Tiger Timber Topaz Trumpet Tulip Tunnel Turtle Umbrella Valley Velvet Violin Walnut " +
  "Water Whale Willow Window Winter Wizard Wolf Yellow Zebra Zephyr"
).split(" ");
